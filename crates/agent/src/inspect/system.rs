//! Maker and firmware from SMBIOS, as the kernel shows it in `/sys/class/dmi/id`.

use undercloud_model::{BootMode, inventory::System};

use crate::sys::Host;

pub(super) fn system(host: &Host) -> System {
    let dmi = |file: &str| host.attribute(format!("sys/class/dmi/id/{file}")).unwrap_or_default();
    System {
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        firmware_version: dmi("bios_version"),
        boot_mode: if host.has("sys/firmware/efi") { BootMode::Uefi } else { BootMode::Bios },
    }
}
