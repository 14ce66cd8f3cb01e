//! Power and boot order, in the words of Ironic's API (`power_state`, `target_power_state`,
//! `boot_device`).

use serde::{Deserialize, Serialize};

/// Power as it was seen. What was asked for is a [`PowerAction`]; the two are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerState {
    /// Running.
    #[serde(rename = "power on")]
    On,
    /// Not running.
    #[serde(rename = "power off")]
    Off,
}

/// A change of power that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Switch on; nothing happens to a machine that is on.
    On,
    /// Switch off at once.
    Off,
    /// Ask the operating system to shut down (ACPI).
    SoftOff,
    /// Off, then on.
    Cycle,
    /// Hard reset without switching off.
    Reset,
}

/// What a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootDevice {
    /// The network (PXE or UEFI network boot).
    Pxe,
    /// The first disk.
    Disk,
    /// CD-ROM or its virtual stand-in.
    Cdrom,
    /// A USB stick or its virtual stand-in: IPMI's primary removable medium.
    Usb,
}

/// Which firmware starts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// Legacy BIOS.
    #[default]
    Bios,
    /// UEFI.
    Uefi,
}
