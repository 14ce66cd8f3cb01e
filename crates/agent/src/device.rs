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

/// What O_DIRECT wants of addresses, offsets and lengths at most (sectors of 4096 bytes).
const ALIGNMENT: usize = 4096;

/// A failure with one sentence.
pub fn failure(kind: StepFailureKind, message: impl std::fmt::Display) -> StepFailure {
    StepFailure { kind, message: one_line(&message.to_string()) }
}

/// A disk as the daemon knows it.
pub fn identity(disk: &Disk) -> DiskIdentity {
    DiskIdentity {
        name: disk.name.clone(),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
        size_bytes: disk.size_bytes,
    }
}

/// Finds the disk that is meant: all that is given must match, and the name decides only where
/// neither serial nor WWN is given.
///
/// # Errors
/// `DiskNotFound` when no disk matches, or more than one.
pub fn find(host: &Host, wanted: &DiskIdentity) -> Result<Disk, StepFailure> {
    let same = |want: &Option<String>, have: &Option<String>| want.is_none() || want == have;
    let matches = |disk: &Disk| {
        let named = wanted.serial.is_some() || wanted.wwn.is_some() || wanted.name == disk.name;
        named
            && same(&wanted.serial, &disk.serial)
            && same(&wanted.wwn, &disk.wwn)
            && wanted.size_bytes == disk.size_bytes
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
    let all: Vec<String> = disks(host).iter().map(|d| describe(&identity(d))).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A disk in a sentence.
pub fn describe(disk: &DiskIdentity) -> String {
    let serial = disk.serial.as_deref().map(|s| format!(", serial {s}")).unwrap_or_default();
    let wwn = disk.wwn.as_deref().map(|w| format!(", wwn {w}")).unwrap_or_default();
    format!("{} ({} bytes{serial}{wwn})", disk.name, disk.size_bytes)
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
