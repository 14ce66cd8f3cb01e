//! The machine's disk: a file, shown to the machine as block devices by the host's loop driver.
//!
//! Each partition is a loop device of its own (offset and length), so that neither the kernel's
//! partition scan nor its support for GPT is needed. Devices detach themselves when their last
//! user is gone, whatever ended it ("autoclear").

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use undercloud_image::gpt::{HEAD_BYTES, TYPE_ROOT_X86_64, Table};

use crate::{MachineError, error::command};

/// ext4: its superblock begins here; in it, the magic number and the id (Documentation/filesystems/
/// ext4/super.rst).
const EXT4_SUPERBLOCK: u64 = 1024;
const EXT4_MAGIC_AT: usize = 0x38;
const EXT4_MAGIC: [u8; 2] = [0x53, 0xef];
const EXT4_UUID_AT: usize = 0x68;
const EXT4_BLOCKS_AT: usize = 0x4;
const EXT4_BLOCK_SIZE_AT: usize = 0x18;
const EXT4_INCOMPATIBLE_AT: usize = 0x60;
const EXT4_64_BIT: u64 = 0x80;
const EXT4_BLOCKS_HIGH_AT: usize = 0x150;
/// A file system that lacks less than this fills its partition: its last group may be too small.
const GROWTH_BYTES_MIN: u64 = 256 << 20;
/// ISO 9660: the primary volume descriptor and the place of its volume's name (ECMA-119, 8.4).
const ISO_DESCRIPTOR: u64 = 16 * 2048;
const ISO_MAGIC: &[u8] = b"\x01CD001";
const ISO_NAME_AT: usize = 40;

/// A block device of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Its name inside: `vda`, `vda1`.
    pub(crate) name: String,
    /// The host's device.
    pub(crate) host: Utf8PathBuf,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) bytes: u64,
    /// For a partition: its number and where it begins.
    pub(crate) partition: Option<(usize, u64)>,
    /// What else it is called below `/dev/disk`.
    pub(crate) links: Vec<String>,
}

/// Loop devices for as long as this is there.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The whole disk first.
    pub(crate) devices: Vec<Device>,
    /// Where the root file system is, among the devices.
    pub(crate) root: Option<usize>,
    /// Held open: a device without a user detaches itself.
    _held: Vec<File>,
}

/// What the disk holds.
pub(crate) fn table(disk: &Utf8Path) -> Result<Table, MachineError> {
    let mut head = Vec::new();
    let file = File::open(disk).map_err(MachineError::io(format!("open {disk}")))?;
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(MachineError::io(format!("read {disk}")))?;
    Table::parse(&head).map_err(|error| MachineError::NoSystem(error.to_string()))
}

/// Shows the disk, and with `partitions` those of its table.
pub(crate) fn attach(disk: &Utf8Path, partitions: bool) -> Result<Attached, MachineError> {
    let bytes = std::fs::metadata(disk).map_err(MachineError::io(format!("look at {disk}")))?.len();
    let (whole, held) = loop_device(disk, "vda", 0, bytes)?;
    let mut attached = Attached { devices: vec![whole], root: None, _held: vec![held] };
    if !partitions {
        return Ok(attached);
    }
    let file = File::open(disk).map_err(MachineError::io(format!("open {disk}")))?;
    for partition in table(disk)?.partitions() {
        let number = partition.index + 1;
        let (start, length) = (partition.offset_bytes(), partition.size_bytes());
        let (mut device, held) = loop_device(disk, &format!("vda{number}"), start, length)?;
        device.partition = Some((number, start));
        device.links = links(&file, start);
        if is_name(&partition.name) {
            device.links.push(format!("by-partlabel/{}", partition.name));
        }
        if partition.kind == TYPE_ROOT_X86_64 {
            attached.root = Some(attached.devices.len());
        }
        attached.devices.push(device);
        attached._held.push(held);
    }
    Ok(attached)
}

/// Makes the file system as large as its partition, where it is not: inside, nothing finds the device
/// by the names that growing wants.
pub(crate) fn grow(device: &Device) -> Result<(), MachineError> {
    let mut superblock = [0u8; 1024];
    File::open(&device.host)
        .and_then(|file| file.read_exact_at(&mut superblock, EXT4_SUPERBLOCK))
        .map_err(MachineError::io(format!("read the file system on {}", device.host)))?;
    let Some(bytes) = ext4_bytes(&superblock) else {
        return Err(MachineError::NoSystem("its root file system is not ext4".to_owned()));
    };
    if bytes + GROWTH_BYTES_MIN > device.bytes {
        return Ok(());
    }
    // Exit status 1: faults were mended. Without a check, resize2fs refuses.
    let device = device.host.as_str();
    match command("e2fsck", &["-f", "-p", device], "") {
        Err(MachineError::Command { said, .. }) if said.starts_with("exit status: 1 ") => {}
        checked => drop(checked?),
    }
    command("resize2fs", &[device], "").map(drop)
}

/// The length that a superblock says, if it is one (ext4/super.rst).
fn ext4_bytes(superblock: &[u8; 1024]) -> Option<u64> {
    let word = |at: usize| {
        let bytes = superblock.get(at..at + 4)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    };
    if superblock[EXT4_MAGIC_AT..EXT4_MAGIC_AT + 2] != EXT4_MAGIC {
        return None;
    }
    let is_64_bit = word(EXT4_INCOMPATIBLE_AT)? & EXT4_64_BIT != 0;
    let high = if is_64_bit { word(EXT4_BLOCKS_HIGH_AT)? << 32 } else { 0 };
    let block = 1024u64.checked_shl(u32::try_from(word(EXT4_BLOCK_SIZE_AT)?).ok()?)?;
    (high | word(EXT4_BLOCKS_AT)?).checked_mul(block)
}

/// A file, shown as a device that cannot be written; the device that shows it already, if one does.
pub(crate) fn attach_read_only(file: &Utf8Path) -> Result<(Utf8PathBuf, File), MachineError> {
    let shown = command("losetup", &["--noheadings", "--output", "NAME", "-j", file.as_str()], "")?;
    if let Some(name) = shown.lines().next().map(str::trim).filter(|name| !name.is_empty())
        && let Ok(held) = File::open(name)
        // It may have gone to another file in between; held, it cannot any more.
        && command("losetup", &["-j", file.as_str()], "").is_ok_and(|now| now.contains(name))
    {
        return Ok((name.into(), held));
    }
    let args = ["--find", "--show", "--read-only", "--direct-io=on", file.as_str()];
    let name = Utf8PathBuf::from(command("losetup", &args, "")?.trim());
    let held = hold(&name, false)?;
    Ok((name, held))
}

fn loop_device(
    disk: &Utf8Path,
    name: &str,
    start: u64,
    bytes: u64,
) -> Result<(Device, File), MachineError> {
    let (offset, size) = (start.to_string(), bytes.to_string());
    // Past the page cache: else a kill waits for what the host has yet to write.
    let args = [
        "--find",
        "--show",
        "--direct-io=on",
        "--offset",
        &offset,
        "--sizelimit",
        &size,
        disk.as_str(),
    ];
    let host = Utf8PathBuf::from(command("losetup", &args, "")?.trim());
    let held = hold(&host, true)?;
    let meta = held.metadata().map_err(MachineError::io(format!("look at {host}")))?;
    if !meta.file_type().is_block_device() {
        return Err(MachineError::Host(format!("losetup made {host}, which is no block device")));
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let name = name.to_owned();
    let device = Device { name, host, major, minor, bytes, partition: None, links: Vec::new() };
    Ok((device, held))
}

/// Opens a loop device and has it detach itself after its last user.
fn hold(device: &Utf8Path, write: bool) -> Result<File, MachineError> {
    let held = std::fs::OpenOptions::new()
        .read(true)
        .write(write)
        .open(device)
        .map_err(MachineError::io(format!("open {device}")));
    // While somebody has it open, this only marks it (loop(4), LOOP_CLR_FD).
    command("losetup", &["--detach", device.as_str()], "")?;
    held
}

/// What udev would call a partition by what is in it.
fn links(disk: &File, start: u64) -> Vec<String> {
    let mut links = Vec::new();
    let mut block = [0u8; 2048];
    if disk.read_exact_at(&mut block, start + EXT4_SUPERBLOCK).is_ok()
        && block[EXT4_MAGIC_AT..].starts_with(&EXT4_MAGIC)
        && let Ok(id) = uuid::Uuid::from_slice(&block[EXT4_UUID_AT..EXT4_UUID_AT + 16])
    {
        links.push(format!("by-uuid/{id}"));
    }
    if disk.read_exact_at(&mut block, start + ISO_DESCRIPTOR).is_ok()
        && block.starts_with(ISO_MAGIC)
        && let Ok(name) = std::str::from_utf8(&block[ISO_NAME_AT..ISO_NAME_AT + 32])
        && is_name(name.trim_end())
    {
        links.push(format!("by-label/{}", name.trim_end()));
    }
    links
}

/// Whether a text can be a file's name in `/dev/disk` as it stands.
fn is_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_a_table_does_not_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("disk.raw")).unwrap();
        std::fs::write(&path, [0u8; 1 << 20]).unwrap();
        let error = table(&path).unwrap_err();
        assert!(matches!(error, MachineError::NoSystem(_)), "{error}");
    }

    #[test]
    fn file_systems_are_named_as_udev_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut bytes = vec![0u8; 1 << 20];
        bytes[512 + 1024 + EXT4_MAGIC_AT..][..2].copy_from_slice(&EXT4_MAGIC);
        bytes[512 + 1024 + EXT4_UUID_AT..][..16].fill(0x11);
        bytes[65536 + 32768..][..6].copy_from_slice(ISO_MAGIC);
        bytes[65536 + 32768 + ISO_NAME_AT..][..32]
            .copy_from_slice(b"config-2                        ");
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(path).unwrap();
        assert_eq!(links(&file, 512), ["by-uuid/11111111-1111-1111-1111-111111111111"]);
        assert_eq!(links(&file, 65536), ["by-label/config-2"]);
        assert_eq!(links(&file, 1 << 20), Vec::<String>::new());
    }

    #[test]
    fn the_length_of_a_file_system_is_read_and_nonsense_has_none() {
        let mut superblock = [0u8; 1024];
        assert_eq!(ext4_bytes(&superblock), None);
        superblock[EXT4_MAGIC_AT..][..2].copy_from_slice(&EXT4_MAGIC);
        superblock[EXT4_BLOCKS_AT..][..4].copy_from_slice(&1000u32.to_le_bytes());
        superblock[EXT4_BLOCK_SIZE_AT..][..4].copy_from_slice(&2u32.to_le_bytes());
        assert_eq!(ext4_bytes(&superblock), Some(4_096_000));
        superblock[EXT4_BLOCKS_HIGH_AT..][..4].copy_from_slice(&1u32.to_le_bytes());
        assert_eq!(ext4_bytes(&superblock), Some(4_096_000), "not a 64-bit one");
        superblock[EXT4_INCOMPATIBLE_AT] = 0x80;
        assert_eq!(ext4_bytes(&superblock), Some((1 << 44) + 4_096_000));
        superblock[EXT4_BLOCK_SIZE_AT..][..4].fill(0xff);
        assert_eq!(ext4_bytes(&superblock), None);
    }

    #[test]
    fn only_plain_names_become_links() {
        for (name, plain) in [("config-2", true), ("root", true), ("../x", false), ("", false)] {
            assert_eq!(is_name(name), plain, "{name}");
        }
    }
}
