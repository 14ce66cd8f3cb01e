//! Writes a whole-disk image to a machine's disk, from a stream, at constant memory.
//!
//! A disk becomes bootable only in the last write: the old partition table is destroyed first, the
//! image's first MiB is held back, the digest of what was received is compared, the table is fitted
//! to the disk, the config drive and the table's copy at the end are written and synced, and then the
//! first MiB goes to the disk. Stopped anywhere before, the machine finds nothing to boot.
//!
//! The digest is that of the stream as transferred. What is unpacked from verified bytes needs no
//! second hash, and under emulation hashing the zeros of a sparse image costs more than writing it.

use std::{
    fs::File,
    io::{self, Read},
    ops::ControlFlow,
    os::unix::fs::FileExt,
};

use rustix::fs::{FallocateFlags, fallocate};
use undercloud_model::{Digest, ErrorKind};

use crate::{
    HashingReader,
    catalog::{Encoding, Image},
    digest_of, frames,
    gpt::{GptError, Guid, TYPE_LINUX, Table},
};

/// The name and label of the partition that holds the config drive (OpenStack's `config-2`).
pub const CONFIG_DRIVE_NAME: &str = "config-2";

/// Bytes read and written at once, and held back at the beginning.
const CHUNK: usize = 1 << 20;
/// How much may be unwritten before the disk has to catch up: progress that is shown is then true.
const SYNC_EVERY_BYTES: u64 = 256 << 20;

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    /// How the stream is packed.
    pub encoding: Encoding,
    /// The digest of the stream, as it is transferred.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The length of the image that comes out of it.
    pub content_size: u64,
    /// A config drive for this machine, see [`crate::configdrive`].
    pub config_drive: Option<&'a [u8]>,
}

impl<'a> WriteRequest<'a> {
    /// The request that writes `image`.
    pub fn of(image: &Image, config_drive: Option<&'a [u8]>) -> Self {
        Self {
            encoding: image.encoding,
            digest: image.digest,
            size: image.size,
            content_size: image.content.size,
            config_drive,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the image handled.
    pub done: u64,
    /// Bytes of the image in all.
    pub total: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The disk's length in bytes.
    pub disk_bytes: u64,
    /// Bytes of the image that were data.
    pub data_bytes: u64,
    /// Bytes of the image that were zeros and did not have to be sent to the disk one by one.
    pub zeroed_bytes: u64,
    /// The table as it is on the disk; nothing for an image without a GUID partition table.
    pub table: Option<Table>,
}

/// Why the image is not on the disk. Whatever it was, the disk does not boot.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The image does not fit; nothing was written.
    #[error("the disk has {disk} bytes, the image needs {need}")]
    DiskTooSmall {
        /// Bytes needed.
        need: u64,
        /// Bytes of the disk.
        disk: u64,
    },
    /// The stream broke, or cannot be unpacked.
    #[error("the image's stream failed after {at} bytes of the image")]
    Source {
        /// Bytes of the image that were read.
        at: u64,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The disk failed.
    #[error("cannot {operation} the disk at byte {at}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// Where.
        at: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The stream was not the image.
    #[error("received digest {found}, expected {expected}")]
    Digest {
        /// The image's.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The stream was shorter or longer than the image.
    #[error("the {what} has {found} bytes or more, expected {expected}")]
    Size {
        /// Which of the two lengths.
        what: &'static str,
        /// As promised.
        expected: u64,
        /// As received.
        found: u64,
    },
    /// The image's partition table cannot be fitted to this disk.
    #[error("the image's partition table does not fit")]
    Table(#[source] GptError),
    /// The caller gave up.
    #[error("writing was cancelled")]
    Cancelled,
}

impl WriteError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DiskTooSmall { .. } | Self::Digest { .. } | Self::Size { .. } => {
                ErrorKind::Invalid
            }
            Self::Table(_) => ErrorKind::Invalid,
            Self::Source { .. } | Self::Disk { .. } => ErrorKind::Unavailable,
            Self::Cancelled => ErrorKind::Conflict,
        }
    }
}

fn disk_error(operation: &'static str, at: u64) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Disk { operation, at, source }
}

/// Writes the image that `source` yields to `disk`, a block device or a file of `disk_bytes`.
pub fn write_image(
    source: impl Read,
    disk: &File,
    disk_bytes: u64,
    request: &WriteRequest<'_>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Written, WriteError> {
    let drive = request.config_drive.map_or(0, |d| d.len() as u64);
    // The config drive's place is aligned, and the table's copy lies behind it.
    let need = request.content_size + if drive == 0 { 0 } else { drive + 2 * CHUNK as u64 };
    if disk_bytes < need || disk_bytes < 2 * CHUNK as u64 {
        return Err(WriteError::DiskTooSmall { need, disk: disk_bytes });
    }
    forget_old_tables(disk, disk_bytes)?;
    // One byte more than promised is enough to know that it is another stream.
    let mut wire = HashingReader::new(source.take(request.size.saturating_add(1)));
    let mut target = Target::new(disk, request.content_size);
    match request.encoding {
        Encoding::Plain => target.copy(&mut wire, progress)?,
        Encoding::Zstd => {
            let unpacked = frames::decompress(&mut wire);
            let unpacked = unpacked.map_err(|source| WriteError::Source { at: 0, source })?;
            target.copy(unpacked, progress)?;
        }
    }
    let at = target.position;
    let (found, size) = wire.drain().map_err(|source| WriteError::Source { at, source })?;
    if size != request.size {
        return Err(WriteError::Size { what: "stream", expected: request.size, found: size });
    }
    if found != request.digest {
        return Err(WriteError::Digest { expected: request.digest, found });
    }
    target.finish(disk_bytes, request)
}

/// Overwrites both ends of the disk, where partition tables, boot loaders and the labels of most
/// volume managers are.
fn forget_old_tables(disk: &File, disk_bytes: u64) -> Result<(), WriteError> {
    let zeros = vec![0u8; CHUNK];
    for at in [0, disk_bytes - CHUNK as u64] {
        disk.write_all_at(&zeros, at).map_err(disk_error("wipe", at))?;
    }
    disk.sync_data().map_err(disk_error("sync", 0))
}

struct Target<'a> {
    disk: &'a File,
    total: u64,
    position: u64,
    head: Vec<u8>,
    zeros_from: Option<u64>,
    can_punch: bool,
    data_bytes: u64,
    zeroed_bytes: u64,
    unsynced: u64,
    zeros: Vec<u8>,
}

impl<'a> Target<'a> {
    fn new(disk: &'a File, total: u64) -> Self {
        Self {
            disk,
            total,
            position: 0,
            head: Vec::new(),
            zeros_from: None,
            can_punch: true,
            data_bytes: 0,
            zeroed_bytes: 0,
            unsynced: 0,
            zeros: vec![0u8; CHUNK],
        }
    }

    fn copy(
        &mut self,
        mut source: impl Read,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), WriteError> {
        let mut chunk = vec![0u8; CHUNK];
        loop {
            let n = fill(&mut source, &mut chunk)
                .map_err(|source| WriteError::Source { at: self.position, source })?;
            let found = self.position + n as u64;
            if found > self.total || (n < CHUNK && found < self.total) {
                return Err(WriteError::Size { what: "image", expected: self.total, found });
            }
            self.take(&chunk[..n])?;
            if progress(Progress { done: self.position, total: self.total }).is_break() {
                return Err(WriteError::Cancelled);
            }
            if n < CHUNK {
                return self.end_of_zeros();
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), WriteError> {
        let at = self.position;
        self.position += chunk.len() as u64;
        if at == 0 {
            self.head = chunk.to_vec();
        } else if chunk == &self.zeros[..chunk.len()] {
            self.zeros_from.get_or_insert(at);
        } else {
            let end = self.position;
            self.position = at;
            self.end_of_zeros()?;
            self.position = end;
            self.write(chunk, at)?;
            self.data_bytes += chunk.len() as u64;
        }
        Ok(())
    }

    /// Makes the zeros that were seen true on the disk, from where they began to here.
    fn end_of_zeros(&mut self) -> Result<(), WriteError> {
        let Some(mut at) = self.zeros_from.take() else { return Ok(()) };
        let length = self.position - at;
        self.zeroed_bytes += length;
        // On a block device the kernel zeroes the range or says that it cannot; it never leaves
        // what was there (block/fops.c, blkdev_fallocate), unlike a plain discard.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if length > 0 && self.can_punch && fallocate(self.disk, flags, at, length).is_ok() {
            return Ok(());
        }
        self.can_punch = false;
        let zeros = std::mem::take(&mut self.zeros);
        while at < self.position {
            let n = usize::try_from(self.position - at).map_or(CHUNK, |left| left.min(CHUNK));
            self.write(&zeros[..n], at)?;
            at += n as u64;
        }
        self.zeros = zeros;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), WriteError> {
        self.disk.write_all_at(bytes, at).map_err(disk_error("write", at))?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.unsynced = 0;
            self.disk.sync_data().map_err(disk_error("sync", at))?;
        }
        Ok(())
    }

    /// Everything is there and verified: fit the table, add the config drive, make it bootable.
    fn finish(
        mut self,
        disk_bytes: u64,
        request: &WriteRequest<'_>,
    ) -> Result<Written, WriteError> {
        let table = match Table::parse(&self.head) {
            Ok(table) => Some(self.fit(table, disk_bytes, request)?),
            // An image with an MBR only, or a bare file system, goes to the disk as it is.
            Err(GptError::NoTable | GptError::Short { .. }) if request.config_drive.is_none() => {
                None
            }
            Err(e) => return Err(WriteError::Table(e)),
        };
        self.disk.sync_all().map_err(disk_error("sync", self.position))?;
        self.disk.write_all_at(&self.head, 0).map_err(disk_error("write", 0))?;
        self.disk.sync_all().map_err(disk_error("sync", 0))?;
        Ok(Written {
            disk_bytes,
            data_bytes: self.data_bytes + self.head.len() as u64,
            zeroed_bytes: self.zeroed_bytes,
            table,
        })
    }

    fn fit(
        &mut self,
        mut table: Table,
        disk_bytes: u64,
        request: &WriteRequest<'_>,
    ) -> Result<Table, WriteError> {
        table.fit_to(disk_bytes).map_err(WriteError::Table)?;
        table.remove_by_name(CONFIG_DRIVE_NAME);
        if let Some(drive) = request.config_drive {
            let length = drive.len() as u64;
            table.grow_last(length + CHUNK as u64).map_err(WriteError::Table)?;
            let id = Guid::from_digest(&digest_of(drive));
            let place = table
                .push_at_end(TYPE_LINUX, id, CONFIG_DRIVE_NAME, length)
                .map_err(WriteError::Table)?
                .offset_bytes();
            self.disk.write_all_at(drive, place).map_err(disk_error("write", place))?;
        } else {
            table.grow_last(0).map_err(WriteError::Table)?;
        }
        let (at, tail) = table.tail();
        self.disk.write_all_at(&tail, at).map_err(disk_error("write", at))?;
        table.write_head(&mut self.head).map_err(WriteError::Table)?;
        Ok(table)
    }
}

fn fill(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match source.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
