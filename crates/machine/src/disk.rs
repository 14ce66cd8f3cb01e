//! The machine's disks: files, shown to the machine as block devices by the host's loop driver.
//!
//! Each partition is a loop device of its own (offset and length), so that neither the kernel's
//! partition scan nor its support for GPT is needed ([`loops`]).

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use undercloud_image::gpt::{HEAD_BYTES, TYPE_ROOT_X86_64, Table};

use crate::{MachineError, Settings, error::command, loops};

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
    /// For a whole disk: its serial number.
    pub(crate) serial: Option<String>,
    /// What else it is called below `/dev/disk`.
    pub(crate) links: Vec<String>,
}

impl Device {
    /// The disk that it is, or that it is a partition of.
    pub(crate) fn disk(&self) -> &str {
        match self.partition {
            None => &self.name,
            Some(_) => self.name.trim_end_matches(|c: char| c.is_ascii_digit()),
        }
    }
}

/// Loop devices for as long as this is there.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The whole disk that it boots from first.
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

/// Shows the disks, and with `partitions` those of their tables, which the first one must have.
pub(crate) fn attach(settings: &Settings, partitions: bool) -> Result<Attached, MachineError> {
    let mut attached = Attached { devices: Vec::new(), root: None, _held: Vec::new() };
    let table_of = |disk| if partitions { table(disk).map(Some) } else { Ok(None) };
    let system = table_of(&settings.disk)?;
    attached.show(&settings.disk, 'a', &settings.disk_serial, system.as_ref())?;
    for (letter, disk) in ('b'..='z').zip(&settings.more_disks) {
        let has = table_of(&disk.file).unwrap_or_default();
        attached.show(&disk.file, letter, &disk.serial, has.as_ref())?;
    }
    Ok(attached)
}

impl Attached {
    /// Shows one disk, and the partitions of this table.
    fn show(
        &mut self,
        disk: &Utf8Path,
        letter: char,
        serial: &str,
        table: Option<&Table>,
    ) -> Result<(), MachineError> {
        let file = File::open(disk).map_err(MachineError::io(format!("open {disk}")))?;
        let bytes = file.metadata().map_err(MachineError::io(format!("look at {disk}")))?.len();
        let (mut whole, held) = loop_device(disk, &format!("vd{letter}"), 0, bytes)?;
        whole.serial = Some(serial.to_owned());
        self.devices.push(whole);
        self._held.push(held);
        for partition in table.iter().flat_map(|table| table.partitions()) {
            let number = partition.index + 1;
            let (start, length) = (partition.offset_bytes(), partition.size_bytes());
            let name = format!("vd{letter}{number}");
            let (mut device, held) = loop_device(disk, &name, start, length)?;
            device.partition = Some((number, start));
            device.links = links(&file, start);
            if is_name(&partition.name) {
                device.links.push(format!("by-partlabel/{}", partition.name));
            }
            // It boots from the first disk alone.
            if letter == 'a' && partition.kind == TYPE_ROOT_X86_64 {
                self.root = Some(self.devices.len());
            }
            self.devices.push(device);
            self._held.push(held);
        }
        Ok(())
    }
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

fn loop_device(
    disk: &Utf8Path,
    name: &str,
    start: u64,
    bytes: u64,
) -> Result<(Device, File), MachineError> {
    let (offset, size) = (start.to_string(), bytes.to_string());
    // Past the page cache: else a kill waits for what the host has yet to write.
    let args = ["--direct-io=on", "--offset", &offset, "--sizelimit", &size, disk.as_str()];
    let (host, held) = loops::attach(&args, loops::Access::ReadWrite)?;
    let meta = held.metadata().map_err(MachineError::io(format!("look at {host}")))?;
    if !meta.file_type().is_block_device() {
        return Err(MachineError::Host(format!("losetup made {host}, which is no block device")));
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let name = name.to_owned();
    let (partition, serial, links) = (None, None, Vec::new());
    let device = Device { name, host, major, minor, bytes, partition, serial, links };
    Ok((device, held))
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
