//! Takes a ready-made image in, from a file or from http(s).
//!
//! The digest comes first: given, or from a `SHA256SUMS` beside the image. The bytes go into the blob
//! store under a temporary name, hashed on the way; only when the digest is right does anything look
//! at them, and what it then refuses is removed again.

mod fetch;
mod format;

use std::{
    fs::{self, File},
    io::{self, Read},
};

use camino::Utf8Path;
use undercloud_model::{Digest, ErrorKind, UnixMillis};

pub use format::FormatError;

use self::fetch::Fetcher;
use crate::{
    blob::{BlobError, Blobs},
    catalog::{Content, Encoding, Image, ImageKind},
};

/// Nothing larger is taken in.
pub const SIZE_MAX: u64 = 1 << 40;
/// The largest `SHA256SUMS` that is read.
const SUMS_BYTES_MAX: u64 = 1 << 20;
/// How much of an image the look at its format reads.
const HEAD_BYTES: u64 = 64 << 10;

/// What to take in.
#[derive(Debug)]
pub struct ImportRequest<'a> {
    /// A path, or a URL that begins with `http://` or `https://`.
    pub source: &'a str,
    /// Its digest; without it a `SHA256SUMS` must be beside it.
    pub sha256: Option<Digest>,
    /// The name it gets.
    pub name: &'a str,
    /// What it is for.
    pub kind: ImageKind,
    /// The largest size that is accepted, at most [`SIZE_MAX`].
    pub size_max: u64,
    /// Where it goes.
    pub blobs: &'a Blobs,
    /// The time, for the record.
    pub now: UnixMillis,
}

/// Why an image was not taken in. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{0} is not a file")]
    NotAFile(String),
    /// The server did not give it.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Nobody says what its digest is.
    #[error(
        "the digest of {0} is not known: give it with --sha256, or put a SHA256SUMS that names it \
         beside it"
    )]
    NoDigest(String),
    /// `SHA256SUMS` is not one.
    #[error("{0} is not a list of SHA-256 digests")]
    BadSums(String),
    /// Larger than was allowed.
    #[error("{source_name} is larger than {max} bytes")]
    TooLarge {
        /// What.
        source_name: String,
        /// The bound.
        max: u64,
    },
    /// It came, and is something else than was promised.
    #[error("{source_name} has digest {found}, expected {expected}: nothing was kept")]
    Mismatch {
        /// What.
        source_name: String,
        /// As promised.
        expected: Digest,
        /// As received.
        found: Digest,
    },
    /// Verified, but not what this product can use.
    #[error("{source_name} cannot be used")]
    Format {
        /// What.
        source_name: String,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// The store failed.
    #[error("cannot store {source_name}")]
    Store {
        /// What.
        source_name: String,
        /// Why.
        #[source]
        source: BlobError,
    },
}

impl ImportError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Read { .. } | Self::Fetch { .. } => ErrorKind::Unavailable,
            Self::NotAFile(_) | Self::NoDigest(_) | Self::BadSums(_) => ErrorKind::Invalid,
            Self::TooLarge { .. } | Self::Mismatch { .. } | Self::Format { .. } => {
                ErrorKind::Invalid
            }
            Self::Store { source, .. } => source.kind(),
        }
    }
}

/// Takes the image in.
pub fn import(request: &ImportRequest<'_>) -> Result<Image, ImportError> {
    let source = Source::of(request.source);
    let expected = match request.sha256 {
        Some(digest) => digest,
        None => source.listed_digest()?,
    };
    let name = || request.source.to_owned();
    let stored = |source| ImportError::Store { source_name: name(), source };
    let known = request.blobs.stat(&expected).map_err(stored)?;
    let size = match known {
        Some(size) => size,
        None => receive(request, &source, &expected)?,
    };
    let looked = look(request, &expected, size);
    if looked.is_err() && known.is_none() {
        request.blobs.delete(&expected).map_err(stored)?;
    }
    looked?;
    Ok(Image {
        name: request.name.to_owned(),
        kind: request.kind,
        digest: expected,
        size,
        encoding: Encoding::Plain,
        content: Content { digest: expected, size },
        os: None,
        min_disk_bytes: if request.kind == ImageKind::Disk { size } else { 0 },
        has_agent: false,
        built_at: request.now,
        inputs: expected,
    })
}

fn receive(
    request: &ImportRequest<'_>,
    source: &Source<'_>,
    expected: &Digest,
) -> Result<u64, ImportError> {
    let max = request.size_max.min(SIZE_MAX);
    let name = || request.source.to_owned();
    let mut capped = Capped { inner: source.open()?, left: max, over: false };
    let put = request.blobs.put_verified(&mut capped, expected);
    match put {
        Ok(stored) => Ok(stored.size),
        Err(_) if capped.over => Err(ImportError::TooLarge { source_name: name(), max }),
        Err(BlobError::Mismatch { expected, found }) => {
            Err(ImportError::Mismatch { source_name: name(), expected, found })
        }
        Err(BlobError::Source(source)) => Err(ImportError::Read { path: name(), source }),
        Err(source) => Err(ImportError::Store { source_name: name(), source }),
    }
}

fn look(request: &ImportRequest<'_>, digest: &Digest, size: u64) -> Result<(), ImportError> {
    let name = || request.source.to_owned();
    let blob = request.blobs.open_blob(digest);
    let blob = blob.map_err(|source| ImportError::Store { source_name: name(), source })?;
    let mut head = Vec::new();
    let read = blob.take(HEAD_BYTES).read_to_end(&mut head);
    read.map_err(|source| ImportError::Read { path: name(), source })?;
    format::check(request.kind, &head, size)
        .map_err(|source| ImportError::Format { source_name: name(), source })
}

/// Where it comes from.
enum Source<'a> {
    File(&'a Utf8Path),
    Url(&'a str, Fetcher),
}

impl<'a> Source<'a> {
    fn of(text: &'a str) -> Self {
        if text.starts_with("http://") || text.starts_with("https://") {
            Self::Url(text, Fetcher::new())
        } else {
            Self::File(Utf8Path::new(text))
        }
    }

    fn open(&self) -> Result<Box<dyn Read>, ImportError> {
        match self {
            Self::File(path) => Ok(Box::new(open_file(path)?)),
            Self::Url(url, fetcher) => fetcher.open(url),
        }
    }

    /// The digest that the `SHA256SUMS` beside it gives.
    fn listed_digest(&self) -> Result<Digest, ImportError> {
        let (sums, name, whole) = match self {
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default();
                (path.with_file_name("SHA256SUMS").into_string(), name, path.as_str())
            }
            Self::Url(url, _) => {
                let bare = url.split(['?', '#']).next().unwrap_or(url);
                let (dir, name) = bare.rsplit_once('/').unwrap_or((bare, ""));
                (format!("{dir}/SHA256SUMS"), name, *url)
            }
        };
        let unknown = || ImportError::NoDigest(whole.to_owned());
        let opened = match self {
            Self::File(_) if !fs::exists(&sums).unwrap_or(false) => return Err(unknown()),
            Self::File(_) => Box::new(open_file(Utf8Path::new(&sums))?) as Box<dyn Read>,
            Self::Url(_, fetcher) => match fetcher.open(&sums) {
                Err(ImportError::Fetch { source, .. })
                    if matches!(*source, ureq::Error::StatusCode(403 | 404)) =>
                {
                    return Err(unknown());
                }
                other => other?,
            },
        };
        let mut text = String::new();
        let read = opened.take(SUMS_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|source| ImportError::Read { path: sums.clone(), source })?;
        match find_digest(&text, name) {
            Ok(found) => found.ok_or_else(unknown),
            Err(NotSums) => Err(ImportError::BadSums(sums)),
        }
    }
}

fn open_file(path: &Utf8Path) -> Result<File, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_string(), source };
    // Looked at before it is opened, so that opening a pipe or a device does nothing; and again
    // after, in case it was another one in between.
    let regular = fs::metadata(path).map_err(failed)?.is_file();
    let file = if regular { Some(File::open(path).map_err(failed)?) } else { None };
    match file {
        Some(file) if file.metadata().map_err(failed)?.is_file() => Ok(file),
        _ => Err(ImportError::NotAFile(path.to_string())),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct NotSums;

/// Finds a file in a list as `sha256sum` prints it: `DIGEST  NAME`, or `DIGEST *NAME`.
fn find_digest(text: &str, name: &str) -> Result<Option<Digest>, NotSums> {
    let mut found = None;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let (digest, rest) = line.split_once(' ').ok_or(NotSums)?;
        let digest: Digest = digest.parse().map_err(|_| NotSums)?;
        let listed = rest.strip_prefix([' ', '*']).unwrap_or(rest);
        if listed.strip_prefix("./").unwrap_or(listed) == name {
            // Named twice with two digests: neither can be believed.
            if found.is_some_and(|f| f != digest) {
                return Err(NotSums);
            }
            found = Some(digest);
        }
    }
    Ok(found)
}

/// Fails after so many bytes.
struct Capped<R> {
    inner: R,
    left: u64,
    over: bool,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => {
                self.over = true;
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
