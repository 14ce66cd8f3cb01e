//! What a machine is made of, as its ramdisk agent saw it. Sent by the agent, so it is hostile
//! until [`Inventory::check`] has passed.

use serde::{Deserialize, Serialize};

use crate::{BootMode, MacAddr};

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
        disks
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
