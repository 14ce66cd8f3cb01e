//! Blobs by digest in a directory: put a stream, open, stat, verify, delete.
//!
//! A blob appears under its name only when it is complete and on the disk: it is written to `tmp/`,
//! synced and renamed. A process that dies leaves a file in `tmp/` that the next [`Blobs::open`]
//! removes; a living writer's file is told apart by the lock it holds. Two writers of the same bytes
//! end with one blob.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use undercloud_model::{Digest, ErrorKind};

use crate::HashingReader;

/// Names tried for a temporary file: each collision is a file that a dead process left.
const WRITER_ATTEMPTS_MAX: usize = 10_000;

/// A directory of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: Utf8PathBuf,
}

/// What was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// Why a blob could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file system refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The stream that was to be kept ended in an error.
    #[error("cannot read what should be stored")]
    Source(#[source] io::Error),
    /// No such blob.
    #[error("there is no blob {0}")]
    Missing(Digest),
    /// The stream is not what it was said to be; nothing was kept.
    #[error("the content has digest {found}, expected {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
}

impl BlobError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Source(_) => ErrorKind::Unavailable,
            Self::Missing(_) => ErrorKind::NotFound,
            Self::Mismatch { .. } => ErrorKind::Invalid,
        }
    }
}

fn failed(operation: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_owned();
    move |source| BlobError::Io { operation, path, source }
}

impl Blobs {
    /// Opens the store in `root`, makes it if need be, and removes what dead writers left.
    pub fn open(root: impl Into<Utf8PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        for dir in [root.join("tmp"), root.join("sha256")] {
            fs::create_dir_all(&dir).map_err(failed("make the directory", &dir))?;
        }
        let blobs = Self { root };
        blobs.sweep()?;
        Ok(blobs)
    }

    /// The directory of this store.
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Where the blob lies, whether or not it is there. The file is never changed once it exists.
    pub fn path(&self, digest: &Digest) -> Utf8PathBuf {
        let hex = digest.hex();
        self.root.join("sha256").join(&hex[..2]).join(&hex)
    }

    /// Keeps everything that `source` yields.
    pub fn put(&self, source: impl Read) -> Result<Stored, BlobError> {
        self.fill(source)?.finish()
    }

    /// Keeps what `source` yields if its digest is `expected`, nothing otherwise.
    pub fn put_verified(&self, source: impl Read, expected: &Digest) -> Result<Stored, BlobError> {
        self.fill(source)?.finish_as(expected)
    }

    /// Takes a blob over from another store, once its bytes are what its name says: as a second
    /// name of the same file where one file system holds both, as a copy otherwise.
    pub fn adopt(&self, from: &Self, digest: &Digest) -> Result<Stored, BlobError> {
        let stored = from.verify(digest)?;
        let to = self.path(digest);
        let dir = to.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&dir).map_err(failed("make the directory", &dir))?;
        match fs::hard_link(from.path(digest), &to) {
            Ok(()) => self.sync(&dir)?,
            Err(_) => {
                self.put_verified(from.open_blob(digest)?, digest)?;
            }
        }
        Ok(stored)
    }

    /// Makes names durable: those in `dir`, and its own.
    fn sync(&self, dir: &Utf8Path) -> Result<(), BlobError> {
        for dir in [dir, &self.root.join("sha256")] {
            let synced = File::open(dir).and_then(|d| d.sync_all());
            synced.map_err(failed("sync", dir))?;
        }
        Ok(())
    }

    fn fill(&self, mut source: impl Read) -> Result<BlobWriter, BlobError> {
        let mut writer = self.writer()?;
        let mut buf = vec![0u8; 1 << 20];
        loop {
            let n = match source.read(&mut buf) {
                Ok(0) => return Ok(writer),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(BlobError::Source(e)),
            };
            let path = writer.path.clone();
            writer.write_all(&buf[..n]).map_err(failed("write", &path))?;
        }
    }

    /// A new blob to be written piece by piece.
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        for _ in 0..WRITER_ATTEMPTS_MAX {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join("tmp").join(format!("{}-{n}", std::process::id()));
            let file = match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // A dead process of our number left it; it goes with the next `open`.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(failed("create", &path)(e)),
            };
            // A sweep may take the file between its creation and its lock: then take another.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && file.metadata().is_ok_and(|m| m.nlink() > 0) {
                let store = self.clone();
                return Ok(BlobWriter {
                    store,
                    path,
                    file,
                    hasher: Sha256::new(),
                    size: 0,
                    kept: false,
                });
            }
        }
        let tmp = self.root.join("tmp");
        Err(failed("find a free name in", &tmp)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(*digest)),
            Err(e) => Err(failed("open", &path)(e)),
        }
    }

    /// The blob's length, or nothing if it is not there.
    pub fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("look at", &path)(e)),
        }
    }

    /// For how long the blob has had its name here, or nothing if it is not there. A clock that went
    /// back makes it new.
    pub fn age(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => {
                // Not the time of its bytes: an adopted blob is as old as where it came from.
                let since = Duration::from_secs(metadata.ctime().try_into().unwrap_or(0));
                let age = (UNIX_EPOCH + since).elapsed();
                Ok(Some(age.unwrap_or_default()))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("look at", &path)(e)),
        }
    }

    /// Reads the blob through and compares it with its name.
    pub fn verify(&self, digest: &Digest) -> Result<Stored, BlobError> {
        let path = self.path(digest);
        let reader = HashingReader::new(self.open_blob(digest)?);
        let (found, size) = reader.drain().map_err(failed("read", &path))?;
        if found == *digest {
            Ok(Stored { digest: found, size })
        } else {
            Err(BlobError::Mismatch { expected: *digest, found })
        }
    }

    /// Removes the blob; says whether it was there.
    pub fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed("remove", &path)(e)),
        }
    }

    /// All blobs, in the order of their digests. Files that are not blobs are passed over.
    pub fn list(&self) -> Result<Vec<Digest>, BlobError> {
        let root = self.root.join("sha256");
        let mut found = Vec::new();
        for dir in entries(&root)? {
            if fs::metadata(&dir).is_ok_and(|m| m.is_dir()) {
                let names = entries(&dir)?;
                found.extend(names.iter().filter_map(|p| p.file_name()?.parse::<Digest>().ok()));
            }
        }
        found.sort();
        Ok(found)
    }

    fn sweep(&self) -> Result<(), BlobError> {
        for path in entries(&self.root.join("tmp"))? {
            let Ok(file) = File::open(&path) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", &path)(e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn entries(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>, BlobError> {
    let mut paths = Vec::new();
    for entry in dir.read_dir_utf8().map_err(failed("list", dir))? {
        paths.push(entry.map_err(failed("list", dir))?.into_path());
    }
    Ok(paths)
}

/// A blob that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Blobs,
    path: Utf8PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    kept: bool,
}

impl BlobWriter {
    /// Makes the blob durable and gives it its name.
    pub fn finish(mut self) -> Result<Stored, BlobError> {
        let digest = Digest::from_bytes(self.hasher.clone().finalize().into());
        self.keep(digest)
    }

    /// Like [`BlobWriter::finish`], if the digest is `expected`; otherwise nothing is kept.
    pub fn finish_as(mut self, expected: &Digest) -> Result<Stored, BlobError> {
        let found = Digest::from_bytes(self.hasher.clone().finalize().into());
        if found != *expected {
            return Err(BlobError::Mismatch { expected: *expected, found });
        }
        self.keep(found)
    }

    fn keep(&mut self, digest: Digest) -> Result<Stored, BlobError> {
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        let to = self.store.path(&digest);
        let dir = to.parent().unwrap_or(&self.store.root).to_owned();
        fs::create_dir_all(&dir).map_err(failed("make the directory", &dir))?;
        fs::rename(&self.path, &to).map_err(failed("rename to", &to))?;
        self.kept = true;
        self.store.sync(&dir)?;
        Ok(Stored { digest, size: self.size })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.kept {
            // The next `open` removes what could not be removed here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
