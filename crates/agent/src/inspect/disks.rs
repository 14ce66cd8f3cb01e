//! Disks from `/sys/class/block`: whole ones, that hold data when the power is off.

use undercloud_model::{
    Content,
    inventory::{Disk, is_device_name},
};

use crate::sys::{Host, clean};

/// The kernel's names for what is no disk of the machine: memory, files, layers over other disks,
/// optical drives, floppies, and the boot partitions of eMMC (`mmcblk0boot0`).
const NOT_DISKS: [&str; 9] = ["ram", "loop", "zram", "sr", "fd", "dm-", "md", "nbd", "rbd"];

/// The disks, ordered by name.
pub fn disks(host: &Host) -> Vec<Disk> {
    host.names("sys/class/block").iter().filter_map(|name| disk(host, name)).collect()
}

fn disk(host: &Host, name: &str) -> Option<Disk> {
    let at = |file: &str| format!("sys/class/block/{name}/{file}");
    let is_layer = NOT_DISKS.iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    if !is_device_name(name) || is_layer || host.has(at("partition")) {
        return None;
    }
    if name.starts_with("mmcblk") && name.contains("boot") {
        return None;
    }
    // Always in units of 512 bytes, whatever the disk's sectors are (kernel, block/genhd.c).
    let size_bytes = host.number(at("size"))?.checked_mul(512).filter(|size| *size > 0)?;
    let sector_bytes = host.number(at("queue/logical_block_size"));
    Some(Disk {
        name: name.to_owned(),
        size_bytes,
        serial: serial(host, &at),
        wwn: wwn(host, &at),
        model: host.attribute(at("device/model")),
        rotational: host.number(at("queue/rotational")) == Some(1),
        removable: host.number(at("removable")) == Some(1),
        read_only: host.number(at("ro")) == Some(1),
        hidden: host.number(at("hidden")) == Some(1),
        sector_bytes: sector_bytes.and_then(|n| u32::try_from(n).ok()).unwrap_or(512),
        content: Content::NotLooked,
    })
}

/// virtio: `serial` of the disk; NVMe: of its controller; SCSI and ATA: page 0x80 of the vital
/// product data (SPC-4, 7.8.15: four bytes of header, the last two the length, then ASCII).
fn serial(host: &Host, at: &impl Fn(&str) -> String) -> Option<String> {
    let plain = host.attribute(at("serial")).or_else(|| host.attribute(at("device/serial")));
    plain.or_else(|| {
        let page = host.bytes(at("device/vpd_pg80")).ok()?;
        let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
        let text = page.get(4..)?;
        clean(&String::from_utf8_lossy(&text[..length.min(text.len())]))
    })
}

/// The World Wide Name as udev and Ironic write it: `naa.5000…` becomes `0x5000…`; NVMe's `eui.…`
/// stays. Names that a vendor chose (`t10.`) are no World Wide Names.
fn wwn(host: &Host, at: &impl Fn(&str) -> String) -> Option<String> {
    let id = host.attribute(at("wwid")).or_else(|| host.attribute(at("device/wwid")))?;
    match id.split_once('.') {
        Some(("naa", digits)) => Some(format!("0x{digits}")),
        Some(("eui" | "uuid", _)) => Some(id),
        _ => None,
    }
}
