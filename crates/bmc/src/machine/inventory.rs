//! What a machine is made of, as FRU and Redfish show it.

/// What is in a machine; never changes while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Who made it.
    pub manufacturer: String,
    /// The product.
    pub model: String,
    /// Its serial number.
    pub serial_number: String,
    /// An asset tag that its owner gave it.
    pub asset_tag: String,
    /// The machine's own firmware (BIOS or UEFI), as text.
    pub firmware_version: String,
    /// Whether it starts by UEFI.
    pub uefi: bool,
    /// Whether the firmware checks signatures; `None` when it cannot.
    pub secure_boot: Option<bool>,
    /// Its processors.
    pub processors: Vec<Processor>,
    /// Main memory, in mebibytes.
    pub memory_mib: u64,
    /// Its network interfaces, in the order in which the firmware tries them.
    pub nics: Vec<Nic>,
    /// Its disks.
    pub drives: Vec<Drive>,
}

/// A processor socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    /// The model, as `/proc/cpuinfo` writes it.
    pub model: String,
    /// Physical cores.
    pub cores: u32,
    /// Hardware threads.
    pub threads: u32,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name in the machine's definition.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Speed in megabits a second; `None` when it is not known.
    pub speed_mbps: Option<u32>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// Its name in the machine's definition.
    pub name: String,
    /// Its serial number.
    pub serial_number: String,
    /// Its model.
    pub model: String,
    /// Size in bytes.
    pub capacity_bytes: u64,
}
