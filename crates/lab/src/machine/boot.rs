//! Boot flags and the boot order they amount to.
//!
//! QEMU hands the order to the firmware as `bootindex` properties, read anew at each reset, so
//! that changing them while the guest runs is enough for its next reboot (seen with SeaBIOS and
//! OVMF under QEMU 10.0). A flag for one boot is used up by the next power-on or reset.

use serde::{Deserialize, Serialize};
use undercloud_model::BootDevice;

use super::media::MediaDrive;

/// QEMU's id of the disk.
pub(crate) const DISK: &str = "disk0";
/// QEMU's id of the NIC that is booted from.
pub(crate) const NIC: &str = "nic0";
/// QEMU's id of the CD drive.
pub(crate) const CD: &str = "cd0";
/// QEMU's id of the USB stick.
pub(crate) const USB: &str = "usb0";

/// QEMU's devices, the one to try first in front.
pub(crate) type Order = &'static [&'static str];
/// Everything that can be in an [`Order`].
pub(crate) const BOOTABLE: Order = &[CD, USB, DISK, NIC];

/// What to boot from instead of the default order (disk, then network).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFlags {
    /// Where to boot from first.
    pub device: BootDevice,
    /// UEFI is wished for, not BIOS. Recorded; a machine's firmware does not change.
    pub efi: bool,
    /// For every boot, not for the next one alone.
    pub persistent: bool,
}

/// The flags as they are kept on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) flags: Option<BootFlags>,
    /// A start that uses up the flags was begun. Whether it happened is told by QEMU's process:
    /// without one, the flags still count.
    pub(crate) starting: bool,
    /// A power cycle was begun and has not started the machine yet: whoever finds it off starts it.
    #[serde(default)]
    pub(crate) cycling: bool,
}

impl Kept {
    /// What holds when the machine is found again after this process, or an earlier one, died.
    pub(crate) fn found(self, running: bool) -> Self {
        let used_up = self.starting && running;
        let flags = if used_up { after_boot(self.flags) } else { self.flags };
        Self { flags, starting: false, cycling: self.cycling && !running }
    }
}

/// The flags after a boot.
pub(crate) fn after_boot(flags: Option<BootFlags>) -> Option<BootFlags> {
    flags.filter(|flags| flags.persistent)
}

/// The drive that a device is.
pub(crate) fn drive(device: BootDevice) -> Option<MediaDrive> {
    match device {
        BootDevice::Cdrom => Some(MediaDrive::Cd),
        BootDevice::Usb => Some(MediaDrive::Usb),
        BootDevice::Pxe | BootDevice::Disk => None,
    }
}

/// What to try, and in which order. An empty drive is passed over.
pub(crate) fn order(flags: Option<BootFlags>) -> Order {
    match flags.map(|flags| flags.device) {
        Some(BootDevice::Pxe) => &[NIC, DISK],
        Some(BootDevice::Cdrom) => &[CD, DISK, NIC],
        Some(BootDevice::Usb) => &[USB, DISK, NIC],
        Some(BootDevice::Disk) | None => &[DISK, NIC],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drives_are_what_a_container_lacks() {
        assert_eq!(drive(BootDevice::Usb), Some(MediaDrive::Usb));
        assert_eq!(drive(BootDevice::Cdrom), Some(MediaDrive::Cd));
        assert_eq!(drive(BootDevice::Pxe).or(drive(BootDevice::Disk)), None);
    }

    fn flags(device: BootDevice, persistent: bool) -> Option<BootFlags> {
        Some(BootFlags { device, efi: false, persistent })
    }

    #[test]
    fn the_disk_is_first_unless_something_else_is_asked_for() {
        assert_eq!(order(flags(BootDevice::Cdrom, false)), [CD, DISK, NIC]);
        assert_eq!(order(flags(BootDevice::Usb, true)), [USB, DISK, NIC]);
        assert_eq!(order(None), [DISK, NIC]);
        assert_eq!(order(flags(BootDevice::Disk, false)), [DISK, NIC]);
        assert_eq!(order(flags(BootDevice::Pxe, true)), [NIC, DISK]);
    }

    #[test]
    fn a_boot_uses_up_what_was_set_for_once() {
        assert_eq!(after_boot(flags(BootDevice::Pxe, false)), None);
        assert_eq!(after_boot(flags(BootDevice::Pxe, true)), flags(BootDevice::Pxe, true));
    }

    #[test]
    fn a_death_in_mid_start_neither_loses_nor_repeats_a_flag() {
        let once = flags(BootDevice::Pxe, false);
        let begun = Kept { flags: once, starting: true, cycling: false };
        assert_eq!(begun.found(true), Kept::default(), "QEMU was started with it");
        assert_eq!(begun.found(false).flags, once, "QEMU never started");
        let waiting = Kept { flags: once, starting: false, cycling: false };
        assert_eq!(waiting.found(true).flags, once, "set while the machine ran");
        let cycling = Kept { flags: once, starting: false, cycling: true };
        assert!(cycling.found(false).cycling, "it was stopped and is to be started");
        assert!(!cycling.found(true).cycling, "it runs");
        let always = Kept { flags: flags(BootDevice::Pxe, true), starting: true, cycling: false };
        assert_eq!(always.found(true).flags, always.flags);
    }
}
