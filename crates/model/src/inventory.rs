//! What a machine is made of, as its ramdisk agent saw it. Sent by the agent, so it is hostile
//! until [`Inventory::check`] has passed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BootMode, Content, MacAddr, agent::DiskIdentity};

/// A machine's parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Its processors.
    pub cpu: Cpu,
    /// Memory that the kernel can use, in bytes.
    pub memory_bytes: u64,
    /// Its disks, ordered by name.
    pub disks: Vec<Disk>,
    /// Its network interfaces, ordered by name.
    pub nics: Vec<Nic>,
    /// Who made it, and what its firmware is.
    pub system: System,
    /// Where its switch can forward packets.
    #[serde(default, skip_serializing_if = "Datapath::is_kernel")]
    pub datapath: Datapath,
}

/// Where a machine's virtual switch forwards packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Datapath {
    /// In the kernel, by its module `openvswitch`; the images that we build have it.
    #[default]
    Kernel,
    /// In the switch's own process: a container on a kernel without the module.
    Userspace,
}

impl Datapath {
    /// Whether it is the kernel's.
    pub fn is_kernel(&self) -> bool {
        *self == Self::Kernel
    }
}

/// The processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Logical processors.
    pub count: u32,
    /// As the kernel names the architecture: `x86_64`.
    pub architecture: String,
    /// The model as it calls itself.
    pub model: String,
    /// Whether it offers virtualisation to guests (`svm` or `vmx`).
    pub virtualisation: bool,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name in this boot: `vda`. Another boot may name it otherwise.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Serial number, where the disk has one.
    pub serial: Option<String>,
    /// World Wide Name, where the disk has one.
    pub wwn: Option<String>,
    /// Model, where the disk has one.
    pub model: Option<String>,
    /// Whether it turns.
    pub rotational: bool,
    /// Whether it can be taken out (USB sticks): never chosen by default.
    pub removable: bool,
    /// Whether it refuses to be written.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it is a path to a disk that is listed beside it, and no disk of its own (NVMe's
    /// native multipath).
    #[serde(default)]
    pub hidden: bool,
    /// What it reads and writes at once, in bytes.
    #[serde(default = "usual_sector")]
    pub sector_bytes: u32,
    /// What is on it.
    #[serde(default)]
    pub content: Content,
}

/// The sectors that images are made for.
const SECTOR_BYTES: u32 = 512;

fn usual_sector() -> u32 {
    SECTOR_BYTES
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            name: String::new(),
            size_bytes: 0,
            serial: None,
            wwn: None,
            model: None,
            rotational: false,
            removable: false,
            read_only: false,
            hidden: false,
            sector_bytes: SECTOR_BYTES,
            content: Content::NotLooked,
        }
    }
}

/// Why no system can be written to a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Unusable {
    /// It refuses to be written.
    ReadOnly,
    /// It is a path to another.
    Path,
    /// Its sectors are of another size than images are made for.
    Sectors {
        /// Their size.
        bytes: u32,
    },
    /// Another says that it is the same: several paths to one disk, or a maker's mistake. Neither
    /// can be told from the other.
    Twice {
        /// The other's name.
        other: String,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Path => f.write_str("it is a path to another disk (multipath)"),
            Self::Sectors { bytes } => {
                write!(f, "its sectors of {bytes} bytes are not supported, {SECTOR_BYTES} are")
            }
            Self::Twice { other } => {
                write!(f, "it cannot be told from {other}, which has the same serial number or WWN")
            }
        }
    }
}

impl Disk {
    /// By what it is known in another boot.
    pub fn identity(&self) -> DiskIdentity {
        DiskIdentity {
            name: self.name.clone(),
            serial: self.serial.clone(),
            wwn: self.wwn.clone(),
            size_bytes: self.size_bytes,
        }
    }

    /// Why no system can be written to it, which is one of `disks`.
    pub fn unusable_among(&self, disks: &[Self]) -> Option<Unusable> {
        if self.hidden {
            return Some(Unusable::Path);
        }
        if self.read_only {
            return Some(Unusable::ReadOnly);
        }
        let twin = disks.iter().find(|d| d.name != self.name && !d.hidden && d.is_twin_of(self));
        if let Some(twin) = twin {
            return Some(Unusable::Twice { other: twin.name.clone() });
        }
        let bytes = self.sector_bytes;
        (bytes != SECTOR_BYTES).then_some(Unusable::Sectors { bytes })
    }

    fn is_twin_of(&self, other: &Self) -> bool {
        match (&self.wwn, &other.wwn) {
            (Some(one), Some(another)) => one == another,
            (None, None) => {
                self.serial.is_some()
                    && self.serial == other.serial
                    && self.size_bytes == other.size_bytes
            }
            _ => false,
        }
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The kernel's name in this boot: `eth0`.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
    /// Whether a carrier was seen.
    pub link: bool,
    /// Speed in Mbit/s, where the driver tells.
    pub speed_mbps: Option<u32>,
}

/// Maker and firmware, from SMBIOS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `sys_vendor`.
    pub vendor: String,
    /// `product_name`.
    pub product: String,
    /// `product_serial`.
    pub serial: String,
    /// Version of the firmware (`bios_version`).
    pub firmware_version: String,
    /// What started this boot.
    pub boot_mode: BootMode,
}

/// An inventory no machine can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the inventory's {field} is not acceptable: {why}")]
pub struct InventoryError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The most disks or interfaces of one machine that are believed.
const PARTS_MAX: usize = 1024;
/// The most findings on one disk that are believed.
const FINDINGS_MAX: usize = 1024;
/// The longest text of one part that is believed, in bytes.
const TEXT_MAX: usize = 256;

impl Inventory {
    /// Checks what an agent sent.
    ///
    /// # Errors
    /// The first field that no machine can have.
    pub fn check(&self) -> Result<(), InventoryError> {
        let fail = |field, why| Err(InventoryError { field, why });
        if self.cpu.count == 0 {
            return fail("cpu.count", "it is 0");
        }
        if self.memory_bytes == 0 {
            return fail("memory_bytes", "it is 0");
        }
        if self.disks.len() > PARTS_MAX {
            return fail("disks", "there are more than 1024");
        }
        let findings = |d: &Disk| match &d.content {
            Content::Found { parts } => parts.len(),
            Content::NotLooked | Content::Unreadable { .. } => 0,
        };
        if self.disks.iter().any(|d| findings(d) > FINDINGS_MAX) {
            return fail("disks.content", "one has more than 1024 findings");
        }
        if self.nics.len() > PARTS_MAX {
            return fail("nics", "there are more than 1024");
        }
        if self.disks.iter().any(|d| !is_device_name(&d.name)) {
            return fail("disks.name", "it is no device name");
        }
        if self.nics.iter().any(|n| !is_device_name(&n.name)) {
            return fail("nics.name", "it is no device name");
        }
        if self.texts().any(|t| t.len() > TEXT_MAX || t.chars().any(char::is_control)) {
            return fail("texts", "one is longer than 256 bytes or holds control characters");
        }
        Ok(())
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let disks = self.disks.iter().flat_map(|d| [&d.serial, &d.wwn, &d.model]).flatten();
        let System { vendor, product, serial, firmware_version, boot_mode: _ } = &self.system;
        let contents = self.disks.iter().flat_map(|d| d.content.texts());
        disks
            .chain(contents)
            .chain([&self.cpu.architecture, &self.cpu.model])
            .chain([vendor, product, serial, firmware_version])
            .map(String::as_str)
    }
}

/// Whether `name` can be an entry of `/sys/class/block` or `/sys/class/net`.
pub fn is_device_name(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'!' | b':');
    (1..=32).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().any(|c| c.is_ascii_alphanumeric())
}
