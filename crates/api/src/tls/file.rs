//! Files with keys in them: 0600 from their first byte, complete or absent.

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_durable::{Access, replace};
use undercloud_model::ErrorKind;

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// The file is not as we write it.
    #[error("{path} is damaged: restore it from a copy, or remove it to get a new one")]
    Damaged {
        /// Which file.
        path: Utf8PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {subject}")]
    Issue {
        /// For whom.
        subject: String,
        /// What was wrong.
        #[source]
        source: rcgen::Error,
    },
    /// rustls does not take what we made.
    #[error("cannot set up TLS with the certificate of {subject}")]
    Rustls {
        /// Whose certificate.
        subject: String,
        /// What was wrong.
        #[source]
        source: rustls::Error,
    },
}

impl TlsError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Conflict,
            Self::Issue { .. } => ErrorKind::Invalid,
            Self::Rustls { .. } => ErrorKind::Bug,
        }
    }
}

pub(super) fn failed(
    operation: &'static str,
    path: &Utf8Path,
) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Io { operation, path, source }
}

pub(super) fn damaged(
    path: &Utf8Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TlsError {
    TlsError::Damaged { path: path.to_owned(), source: source.into() }
}

/// The file's text, or nothing if it is not there.
pub(super) fn read(path: &Utf8Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path)(e)),
    }
}

/// Puts `text` in the place of the file, with this mode.
pub(super) fn write(path: &Utf8Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let written = replace(path.as_std_path(), text.as_bytes(), Access::mode(mode));
    written.map_err(failed("write", path))
}
