//! Where vendors leave the specification, as rows of data.

use crate::machine::{BootDevice, BootFlags};

/// A vendor that wants another boot device selector than the specification's.
#[derive(Debug)]
struct BootQuirk {
    /// Enterprise numbers of Get Device ID.
    manufacturers: &'static [u32],
    /// Of boots by UEFI, or of legacy ones.
    efi: bool,
    /// What is meant.
    meant: BootDevice,
    /// What has to be said.
    said: BootDevice,
}

const BOOT_QUIRKS: &[BootQuirk] = &[
    // Supermicro: "disk" (0x08) is ignored by UEFI firmware, 0x24 boots from it. Ironic:
    // drivers/modules/ipmitool.py, `_vendor_aware_boot_device_map`, after the vendor's FAQ 25559;
    // metal-stack's go-hal has the same, and no row for Dell, Lenovo and Gigabyte.
    BootQuirk {
        manufacturers: &[10_876, 47_488],
        efi: true,
        meant: BootDevice::Disk,
        said: BootDevice::RemoteMedia,
    },
];

fn rows(manufacturer: u32, efi: bool) -> impl Iterator<Item = &'static BootQuirk> {
    BOOT_QUIRKS
        .iter()
        .filter(move |row| row.efi == efi && row.manufacturers.contains(&manufacturer))
}

/// What to tell this vendor's controller.
pub(super) fn to_wire(manufacturer: u32, flags: BootFlags) -> BootFlags {
    let row = rows(manufacturer, flags.efi).find(|row| row.meant == flags.device);
    BootFlags { device: row.map_or(flags.device, |row| row.said), ..flags }
}

/// What this vendor's controller means.
pub(super) fn from_wire(manufacturer: u32, flags: BootFlags) -> BootFlags {
    let row = rows(manufacturer, flags.efi).find(|row| row.said == flags.device);
    BootFlags { device: row.map_or(flags.device, |row| row.meant), ..flags }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipmi::{
        msg::{boot_option::BootOption, set_boot_options},
        wire::Encode as _,
    };

    fn flags(device: BootDevice, efi: bool) -> BootFlags {
        BootFlags { device, efi, persistent: false, valid: true }
    }

    #[test]
    fn supermicro_boots_from_disk_by_uefi() {
        for supermicro in [10_876, 47_488] {
            let said = to_wire(supermicro, flags(BootDevice::Disk, true));
            assert_eq!(said, flags(BootDevice::RemoteMedia, true));
            assert_eq!(from_wire(supermicro, said), flags(BootDevice::Disk, true));
            let legacy = flags(BootDevice::Disk, false);
            assert_eq!(to_wire(supermicro, legacy), legacy);
        }
    }

    /// The bytes that Ironic and SMCIPMITool send: `raw 0x00 0x08 0x05 0xe0 0x24 0 0 0`.
    #[test]
    fn supermicros_disk_on_the_wire() {
        let flags = BootFlags { persistent: true, ..flags(BootDevice::Disk, true) };
        for (manufacturer, device) in [(10_876, 0x24), (674, 0x08)] {
            let said = BootOption::BootFlags(to_wire(manufacturer, flags));
            let bytes = set_boot_options::Request::set(said).to_bytes();
            assert_eq!(bytes, [0x05, 0xe0, device, 0, 0, 0], "{manufacturer}");
        }
    }

    #[test]
    fn what_has_no_row_is_as_specified() {
        for device in BootDevice::ALL {
            for efi in [true, false] {
                let flags = flags(device, efi);
                assert_eq!(to_wire(674, flags), flags);
                assert_eq!(from_wire(674, flags), flags);
            }
        }
    }
}
