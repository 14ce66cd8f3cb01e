//! That a domain is off for the moment only: a file that is there from before a stop until after the
//! start that belongs to it. A process that dies between the two would leave the domain off for good;
//! the next one finds the file and starts the domain.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::LibvirtError;

/// The file of one domain.
#[derive(Debug)]
pub(super) struct Intent {
    path: PathBuf,
}

impl Intent {
    /// In the folder of what BMCs keep.
    pub(super) fn new(folder: &Path, domain: Uuid) -> Self {
        Self { path: folder.join(format!("{domain}.cycle")) }
    }

    /// Whether a restart was begun and not ended.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Writes it down, durably: a power cut may be what comes next.
    pub(super) fn put(&self) -> Result<(), LibvirtError> {
        let put = || {
            File::create(&self.path)?.sync_all()?;
            self.sync_folder()
        };
        put().map_err(|source| self.failed(source))
    }

    /// The restart is over.
    pub(super) fn remove(&self) -> Result<(), LibvirtError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed.and_then(|()| self.sync_folder()).map_err(|source| self.failed(source))
            }
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn failed(&self, source: io::Error) -> LibvirtError {
        LibvirtError::Intent { path: self.path.display().to_string(), source }
    }
}
