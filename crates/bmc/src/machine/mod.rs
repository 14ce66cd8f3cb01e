//! What a virtual baseboard controller needs of the machine behind it.

pub mod inventory;
pub mod media;
pub mod readings;
pub mod serial;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;

pub use self::{
    inventory::Inventory,
    media::{Media, MediaSlot},
    readings::Readings,
    serial::SerialLine,
};
use crate::guid::Guid;

/// Whether the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerState {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// What Chassis Control asks for (section 28.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerAction {
    /// Switch on.
    On,
    /// Switch off, at once.
    Off,
    /// Off, a pause, on.
    Cycle,
    /// Hard reset.
    Reset,
    /// Ask the operating system to shut down.
    Soft,
    /// Diagnostic interrupt (NMI).
    Diag,
}

impl PowerAction {
    /// Whether doing it twice differs from doing it once.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::On | Self::Off | Self::Soft => true,
            Self::Cycle | Self::Reset | Self::Diag => false,
        }
    }

    /// Whether the machine boots in consequence.
    #[must_use]
    pub fn boots(self) -> bool {
        match self {
            Self::On | Self::Cycle | Self::Reset => true,
            Self::Off | Self::Soft | Self::Diag => false,
        }
    }
}

/// From where to boot (table 28-14, parameter 5, data 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootDevice {
    /// No override.
    None,
    /// The network.
    Pxe,
    /// The default disk.
    Disk,
    /// The default disk, in safe mode.
    Safe,
    /// The diagnostic partition.
    Diag,
    /// CD or DVD.
    Cdrom,
    /// Not at all: the firmware's set-up.
    Bios,
    /// A floppy drive over the network.
    RemoteFloppy,
    /// A CD over the network.
    RemoteCdrom,
    /// The primary medium over the network.
    RemoteMedia,
    /// A disk over the network.
    RemoteDisk,
    /// A floppy drive or another removable medium.
    Floppy,
}

impl BootDevice {
    /// Every device.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Pxe,
        Self::Disk,
        Self::Safe,
        Self::Diag,
        Self::Cdrom,
        Self::Bios,
        Self::RemoteFloppy,
        Self::RemoteCdrom,
        Self::RemoteMedia,
        Self::RemoteDisk,
        Self::Floppy,
    ];

    /// The four bits of the wire.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::None => 0x0,
            Self::Pxe => 0x1,
            Self::Disk => 0x2,
            Self::Safe => 0x3,
            Self::Diag => 0x4,
            Self::Cdrom => 0x5,
            Self::Bios => 0x6,
            Self::RemoteFloppy => 0x7,
            Self::RemoteCdrom => 0x8,
            Self::RemoteMedia => 0x9,
            Self::RemoteDisk => 0xb,
            Self::Floppy => 0xf,
        }
    }

    /// From the four bits of the wire.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.bits() == bits)
    }
}

/// What the firmware is told about the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootFlags {
    /// From where.
    pub device: BootDevice,
    /// By UEFI; otherwise the legacy way.
    pub efi: bool,
    /// For every boot from now on; otherwise for the next one only.
    pub persistent: bool,
    /// Whether the firmware heeds them at all.
    pub valid: bool,
}

impl BootFlags {
    /// Nothing set.
    pub const NONE: Self =
        Self { device: BootDevice::None, efi: false, persistent: false, valid: false };
}

/// Who the machine and its controller are; never changes while a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The controller's GUID.
    pub device_guid: Guid,
    /// The machine's GUID, the one in its SMBIOS table.
    pub system_guid: Guid,
    /// The controller's firmware, major (0 to 127) and minor (0 to 99).
    pub firmware: (u8, u8),
    /// For logs.
    pub name: String,
}

/// Why the machine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MachineError {
    /// Something else is under way; ask again.
    #[error("the machine is busy")]
    Busy,
    /// Not in its present power state.
    #[error("not possible in the machine's present state")]
    WrongState,
    /// This machine can never do that.
    #[error("the machine cannot do that")]
    Unsupported,
    /// It was tried, and failed.
    #[error("the machine failed: {0}")]
    Failed(String),
}

/// The machine behind a virtual controller.
///
/// Any method may take seconds: the server answers by its own deadlines. Boot flags that are not
/// `persistent` hold for one boot: the implementation clears `valid` when the machine has used
/// them.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// Whether it runs, as observed now.
    async fn power_state(&self) -> Result<PowerState, MachineError>;

    /// Does it. Returns when it is done, which may be after the client had its answer.
    async fn power(&self, action: PowerAction) -> Result<(), MachineError>;

    /// The flags as set last, and as used up since.
    async fn boot_flags(&self) -> Result<BootFlags, MachineError>;

    /// Sets the flags.
    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError>;

    /// Who it is.
    fn identity(&self) -> Identity;

    /// Minutes for which it has ever been on; `None` when nobody counts them.
    async fn powered_minutes(&self) -> Option<u32> {
        None
    }

    /// What it is made of.
    fn inventory(&self) -> Inventory {
        Inventory::default()
    }

    /// What it measures of itself, now.
    async fn readings(&self) -> Result<Readings, MachineError> {
        Err(MachineError::Unsupported)
    }

    /// Every change of its power, as observed, whoever made it; `None` when nobody watches.
    fn power_changes(&self) -> Option<watch::Receiver<PowerState>> {
        None
    }

    /// Its serial port, for one reader at a time.
    async fn open_serial(&self) -> Result<SerialLine, MachineError> {
        Err(MachineError::Unsupported)
    }

    /// Its virtual drives: others are not offered.
    fn media_slots(&self) -> &'static [MediaSlot] {
        &[]
    }

    /// What is in a virtual drive.
    async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, MachineError> {
        let _ = slot;
        Err(MachineError::Unsupported)
    }

    /// Puts an image into a virtual drive, or takes it out.
    async fn set_media(&self, slot: MediaSlot, media: Option<Media>) -> Result<(), MachineError> {
        let _ = (slot, media);
        Err(MachineError::Unsupported)
    }
}
