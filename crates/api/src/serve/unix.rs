//! A unix socket that only its owner can use.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::ErrorKind;

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("another process serves {0}")]
    InUse(Utf8PathBuf),
    /// There is a file that is no socket.
    #[error("{0} is there and is not a socket")]
    NotASocket(Utf8PathBuf),
    /// The file system refused.
    #[error("cannot open the socket {path}")]
    Io {
        /// Which socket.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse(_) | Self::NotASocket(_) => ErrorKind::Conflict,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Opens the socket with mode 0600. One that a dead process left is replaced.
///
/// The directory is the state directory (0700), so that nobody else gets in between the socket's
/// making and its mode.
///
/// # Errors
/// When a living process serves it, or the file system refuses.
pub fn bind_unix(path: &Utf8Path) -> Result<UnixListener, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(io)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}
