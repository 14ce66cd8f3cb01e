//! Takes a ready-made image in, from a file or from http(s).
//!
//! The digest comes first: given, or from a list of digests beside the image ([`sums`]). The bytes go
//! into the blob store under a temporary name, hashed on the way; only when the digest is right does
//! anything look at them, and what it then refuses is removed again. A blob that is there already is
//! read through first: one that was damaged is fetched again, which is what its failure told to do.

mod fetch;
mod format;
mod proxy;
mod sums;

use std::{
    fs::{self, File},
    io::{self, Read},
};

use camino::Utf8Path;
use undercloud_model::{Digest, ErrorKind, UnixMillis};

pub use format::FormatError;
pub use sums::SumsError;

use self::fetch::{Fetcher, STALL_TIMEOUT};
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
    /// Nothing that can be fetched from.
    #[error("`{0}` is no place that images come from: a file, or a URL of http or https")]
    Url(String),
    /// The environment names a proxy that is none.
    #[error("{variable} is {url}, which is no proxy's URL")]
    Proxy {
        /// Which variable.
        variable: String,
        /// What it says.
        url: String,
    },
    /// The server did not give it.
    #[error("cannot fetch {url}{through}")]
    Fetch {
        /// What.
        url: String,
        /// The proxy, if it was asked through one.
        through: String,
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
    /// The list of digests is not one.
    #[error("{list} is not a list of SHA-256 digests: {why}; give the digest with --sha256")]
    BadSums {
        /// Which list.
        list: String,
        /// What is wrong with it.
        why: SumsError,
    },
    /// It began to come, and did not come to its end.
    #[error(
        "{source_name} broke off after {} MiB{}; nothing was kept, and repeating begins anew",
        came >> 20, of_whole(*whole)
    )]
    BrokeOff {
        /// What.
        source_name: String,
        /// So many bytes came.
        came: u64,
        /// Of so many, if that is known.
        whole: Option<u64>,
        /// What was seen.
        #[source]
        source: io::Error,
    },
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
            Self::Read { .. } | Self::Fetch { .. } | Self::BrokeOff { .. } => {
                ErrorKind::Unavailable
            }
            Self::NotAFile(_) | Self::Url(_) | Self::Proxy { .. } => ErrorKind::Invalid,
            Self::NoDigest(_) | Self::BadSums { .. } => ErrorKind::Invalid,
            Self::TooLarge { .. } | Self::Mismatch { .. } | Self::Format { .. } => {
                ErrorKind::Invalid
            }
            Self::Store { source, .. } => source.kind(),
        }
    }
}

fn of_whole(whole: Option<u64>) -> String {
    whole.map(|bytes| format!(" of {}", bytes >> 20)).unwrap_or_default()
}

/// Takes the image in.
pub fn import(request: &ImportRequest<'_>) -> Result<Image, ImportError> {
    let source = Source::of(request.source)?;
    if let Source::File(path) = &source {
        // Before anything is said about its digest.
        open_file(path)?;
    }
    let expected = match request.sha256 {
        Some(digest) => digest,
        None => source.listed_digest()?,
    };
    let stored = |source| ImportError::Store { source_name: request.source.to_owned(), source };
    let known = match request.blobs.verify(&expected) {
        Ok(stored) => Some(stored.size),
        Err(BlobError::Missing(_) | BlobError::Mismatch { .. }) => None,
        Err(error) => return Err(stored(error)),
    };
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
    let (inner, whole) = source.open()?;
    let mut capped = Capped { inner, left: max, over: false };
    let put = request.blobs.put_verified(&mut capped, expected);
    match put {
        Ok(stored) => Ok(stored.size),
        Err(_) if capped.over => Err(ImportError::TooLarge { source_name: name(), max }),
        Err(BlobError::Mismatch { expected, found }) => {
            Err(ImportError::Mismatch { source_name: name(), expected, found })
        }
        Err(BlobError::Source(source)) => {
            let (source_name, came) = (name(), max - capped.left);
            Err(ImportError::BrokeOff { source_name, came, whole, source: in_words(source) })
        }
        Err(source) => Err(ImportError::Store { source_name: name(), source }),
    }
}

/// What ureq says of its bounds is for those who know ureq.
fn in_words(source: io::Error) -> io::Error {
    let is_late =
        source.kind() == io::ErrorKind::TimedOut || source.to_string().contains("timeout");
    if !is_late {
        return source;
    }
    let seconds = STALL_TIMEOUT.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {seconds} s"))
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

/// A list that may lie beside an image.
struct List {
    place: String,
    /// It is of that image alone.
    is_its_own: bool,
}

impl<'a> Source<'a> {
    fn of(text: &'a str) -> Result<Self, ImportError> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(Utf8Path::new(text)));
        };
        if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
            return Ok(Self::Url(text, Fetcher::new()));
        }
        // A path may hold such a thing, if it is there.
        if fs::exists(text).unwrap_or(false) {
            return Ok(Self::File(Utf8Path::new(text)));
        }
        Err(ImportError::Url(fetch::without_password(text)))
    }

    /// Its bytes, and how many there will be, if that is known.
    fn open(&self) -> Result<(Box<dyn Read>, Option<u64>), ImportError> {
        match self {
            Self::File(path) => {
                let file = open_file(path)?;
                let length = file.metadata().ok().map(|metadata| metadata.len());
                Ok((Box::new(file), length))
            }
            Self::Url(url, fetcher) => {
                let fetched = fetcher.open(url)?;
                Ok((fetched.body, fetched.length))
            }
        }
    }

    /// The digest that a list beside it gives.
    fn listed_digest(&self) -> Result<Digest, ImportError> {
        let (names, whole) = match self {
            Self::File(path) => {
                (vec![path.file_name().unwrap_or_default().to_owned()], path.to_string())
            }
            Self::Url(url, _) => (names_in(url), fetch::without_password(url)),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for list in self.lists(names[0]) {
            let Some(opened) = self.open_list(&list.place)? else { continue };
            let mut text = String::new();
            let read = opened.take(SUMS_BYTES_MAX).read_to_string(&mut text);
            let place = || fetch::without_password(&list.place);
            read.map_err(|source| ImportError::Read { path: place(), source })?;
            match sums::find(&text, &names, list.is_its_own) {
                Ok(Some(digest)) => return Ok(digest),
                Ok(None) => {}
                Err(why) => return Err(ImportError::BadSums { list: place(), why }),
            }
        }
        Err(ImportError::NoDigest(whole))
    }

    /// The lists that may lie beside it, each as it is known of publishers.
    fn lists(&self, name: &str) -> Vec<List> {
        let mut lists = Vec::new();
        let own = ["sha256", "sha256sum", "SHA256", "SHA256SUM"].map(|end| format!("{name}.{end}"));
        let shared = ["SHA256SUMS", "CHECKSUM"].map(str::to_owned);
        let all = shared.into_iter().map(|file| (file, false)).chain(own.map(|file| (file, true)));
        for (file, is_its_own) in all {
            match self {
                Self::File(path) => {
                    let place = path.with_file_name(file).into_string();
                    lists.push(List { place, is_its_own });
                }
                Self::Url(url, _) => {
                    let (bare, query) =
                        url.find(['?', '#']).map_or((*url, ""), |at| url.split_at(at));
                    let folder = bare.rsplit_once('/').map_or(bare, |(folder, _)| folder);
                    let place = format!("{folder}/{file}");
                    // What lets somebody in may stand in the query.
                    if query.starts_with('?') {
                        let place = format!("{place}{query}");
                        lists.push(List { place, is_its_own });
                    }
                    lists.push(List { place, is_its_own });
                }
            }
        }
        lists
    }

    /// The list, if it is there.
    fn open_list(&self, place: &str) -> Result<Option<Box<dyn Read>>, ImportError> {
        match self {
            Self::File(_) if !fs::exists(place).unwrap_or(false) => Ok(None),
            Self::File(_) => Ok(Some(Box::new(open_file(Utf8Path::new(place))?))),
            Self::Url(_, fetcher) => match fetcher.open(place) {
                Ok(fetched) => Ok(Some(fetched.body)),
                Err(ImportError::Fetch { source, .. })
                    if matches!(*source, ureq::Error::StatusCode(400 | 401 | 403 | 404 | 410)) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// What the file at a URL is called: as it is written there, and without percent signs.
fn names_in(url: &str) -> Vec<String> {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    let name = bare.rsplit('/').next().unwrap_or_default();
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let escape = more.get(..2).filter(|_| *first == b'%');
        let escaped = escape.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &more[2..] } else { more };
    }
    let plain = String::from_utf8(bytes).unwrap_or_default();
    [name.to_owned(), plain].into_iter().filter(|name| !name.is_empty()).collect()
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
