//! Disks as block devices: find the one that is meant, open it for ourselves, read it back past the
//! page cache.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use rustix::fs::{Advice, OFlags, fadvise};
use undercloud_model::{
    agent::{DiskIdentity, StepFailure, StepFailureKind},
    inventory::Disk,
};

use crate::{inspect::disks, log::one_line, sys::Host};

/// How much at each end of a disk, and of each partition on it, a wipe overwrites and a look reads.
///
/// It holds the MBR, both GUID tables, the superblocks of ext4 (at 1 KiB), XFS (0), btrfs (64 KiB)
/// and VMFS (1 MiB), LVM's label (sector 1), swap's (4086), MD of all versions (0, 4 KiB or the
/// end), Intel's and DDF's (the end) and ZFS's labels (two of 256 KiB at each end).
pub const END_BYTES: u64 = 2 << 20;
/// What O_DIRECT wants of addresses, offsets and lengths at most (sectors of 4096 bytes).
const ALIGNMENT: usize = 4096;

/// A failure with one sentence.
pub fn failure(kind: StepFailureKind, message: impl std::fmt::Display) -> StepFailure {
    StepFailure::new(kind, one_line(&message.to_string()))
}

/// Finds the disk that is meant: all that is given must match, and the name decides only where
/// neither serial nor WWN is given.
///
/// # Errors
/// `DiskNotFound` when no disk matches, or more than one.
pub fn find(host: &Host, wanted: &DiskIdentity) -> Result<Disk, StepFailure> {
    let same = |want: &Option<String>, have: &Option<String>| want.is_none() || want == have;
    // A path to a disk has all that the disk has, and no device node.
    let matches = |disk: &Disk| {
        !disk.hidden && {
            let named = wanted.serial.is_some() || wanted.wwn.is_some() || wanted.name == disk.name;
            named
                && same(&wanted.serial, &disk.serial)
                && same(&wanted.wwn, &disk.wwn)
                && wanted.size_bytes == disk.size_bytes
        }
    };
    let mut found: Vec<Disk> = disks(host).into_iter().filter(matches).collect();
    match (found.pop(), found.len()) {
        (Some(disk), 0) => Ok(disk),
        (None, _) => Err(failure(
            StepFailureKind::DiskNotFound,
            format_args!("no disk is {}; the machine has: {}", describe(wanted), list(host)),
        )),
        (Some(_), more) => Err(failure(
            StepFailureKind::DiskNotFound,
            format_args!("{} disks are {}: {}", more + 1, describe(wanted), list(host)),
        )),
    }
}

fn list(host: &Host) -> String {
    let all: Vec<String> = disks(host).iter().map(|d| describe(&d.identity())).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A disk in a sentence.
pub fn describe(disk: &DiskIdentity) -> String {
    let serial = disk.serial.as_deref().map(|s| format!(", serial {s}")).unwrap_or_default();
    let wwn = disk.wwn.as_deref().map(|w| format!(", wwn {w}")).unwrap_or_default();
    format!("{} ({} bytes{serial}{wwn})", disk.name, disk.size_bytes)
}

/// A partition that the kernel sees, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub length: u64,
}

/// The partitions that the kernel sees on this disk, by their place.
pub fn partitions(host: &Host, disk: &str) -> Vec<Partition> {
    let at = format!("sys/class/block/{disk}");
    let names = host.names(&at).into_iter().filter(|n| n.starts_with(disk));
    let partition = |name: String| {
        let number = |file: &str| host.number(format!("{at}/{name}/{file}"));
        // Always in units of 512 bytes, whatever the disk's sectors are.
        let bytes = |file: &str| number(file)?.checked_mul(512);
        let digits = || name.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        let named = number("partition").or_else(digits).and_then(|n| u32::try_from(n).ok());
        Some(Partition { number: named?, start: bytes("start")?, length: bytes("size")? })
    };
    let mut found: Vec<Partition> = names.filter_map(partition).collect();
    found.sort_unstable_by_key(|p| (p.start, p.number));
    found
}

/// The device node. `name` comes from the kernel, which writes `!` where the node has `/`.
fn node(host: &Host, name: &str) -> PathBuf {
    host.path("dev").join(name.replace('!', "/"))
}

/// Opens a whole disk for writing, for ourselves alone: the kernel refuses while it is mounted or
/// part of an array. Its length must be what was inspected.
///
/// # Errors
/// `DiskIo`, with the disk's name.
pub fn open(host: &Host, disk: &Disk) -> Result<File, StepFailure> {
    let path = node(host, &disk.name);
    let io = |what: &str, e: &dyn std::fmt::Display| {
        failure(StepFailureKind::DiskIo, format_args!("cannot {what} {}: {e}", path.display()))
    };
    let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or(0);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(exclusive)
        .open(&path)
        .map_err(|e| io("open", &e))?;
    let size = file.seek(SeekFrom::End(0)).map_err(|e| io("measure", &e))?;
    if size != disk.size_bytes {
        return Err(io("use", &format_args!("it has {size} bytes and not {}", disk.size_bytes)));
    }
    Ok(file)
}

/// A disk opened to see what is really on it.
#[derive(Debug)]
pub struct ReadBack {
    file: File,
}

impl ReadBack {
    /// Opens the disk past the page cache (`O_DIRECT`). Where that is not possible, what is cached
    /// is dropped instead; it was synced before.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open(host: &Host, name: &str) -> io::Result<Self> {
        let path = node(host, name);
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(direct).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                let file = File::open(&path)?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
                file
            }
            Err(e) => return Err(e),
        };
        Ok(Self { file })
    }

    /// Hands the bytes from `start` on, `length` of them, to `look`, piece by piece.
    ///
    /// # Errors
    /// Those of reading; an unexpected end where the disk is shorter.
    pub fn each(&self, start: u64, length: u64, mut look: impl FnMut(&[u8])) -> io::Result<()> {
        const PIECE: usize = 1 << 20;
        let align = ALIGNMENT as u64;
        let mut buffer = vec![0u8; PIECE + ALIGNMENT];
        let shift = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let buffer = &mut buffer[shift..shift + PIECE];
        let end = start + length;
        let mut at = start - start % align;
        while at < end {
            let n = match self.file.read_at(buffer, at) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let from = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
            let to = usize::try_from(end - at).unwrap_or(usize::MAX).min(n);
            if from >= to {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            look(&buffer[from..to]);
            at += n as u64;
            if at < end && !at.is_multiple_of(align) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// The bytes from `start` on, `length` of them.
    ///
    /// # Errors
    /// Those of [`ReadBack::each`].
    pub fn bytes(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.each(start, length, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }
}
