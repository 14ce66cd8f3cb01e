//! What lets the ordinary `openstack` client in: our entries in the user's `clouds.yaml`, the
//! authority's certificate beside it, and files to source (`stackrc`).
//!
//! ```yaml
//! clouds:
//!   # BEGIN undercloud /var/lib/undercloud: written and removed by undercloud
//!   undercloud: …
//!   # END undercloud /var/lib/undercloud
//!   mycloud: …            # the user's, untouched to the byte
//! ```
//! The file is the user's: it is edited by lines between our marks, read back as YAML, and written
//! only if everything but our entries means what it meant before. Otherwise nothing is written and
//! the user is told which lines to add.

mod edit;
mod files;
mod owner;
mod stackrc;

use camino::Utf8PathBuf;
use undercloud_model::{ErrorKind, Secret};

pub use files::{Installed, install, uninstall, write_stackrc};
pub use owner::Owner;

/// A cloud, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEntry {
    /// Its name for `--os-cloud`: a host name label, not checked here.
    pub name: String,
    /// Keystone's URL, with `/v3`.
    pub auth_url: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The project.
    pub project: String,
    /// The domain of both.
    pub domain: String,
    /// The region.
    pub region: String,
    /// The certificate to trust, PEM; kept in a file of its own.
    pub ca_pem: String,
}

/// Why the user's files were not changed.
#[derive(Debug, thiserror::Error)]
pub enum CloudsError {
    /// The file system refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be edited; nothing was written.
    #[error("cannot edit {path}")]
    Edit {
        /// Which file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        why: EditError,
    },
    /// The file is another user's.
    #[error("{path} belongs to another user")]
    NotOwned {
        /// Which file.
        path: Utf8PathBuf,
    },
    /// Nobody knows where the user lives.
    #[error("user {uid} has no home directory")]
    NoHome {
        /// Which user.
        uid: u32,
    },
}

/// Why a `clouds.yaml` cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no YAML, or no mapping.
    #[error("this is not valid YAML (line {line})")]
    NotYaml {
        /// Where.
        line: u64,
    },
    /// It is not what a `clouds.yaml` is.
    #[error("`clouds` is not a mapping")]
    NotClouds,
    /// The user has a cloud of that name.
    #[error("it has a cloud `{0}` of its own")]
    Conflict(String),
    /// It is written in a way that an edit by lines would damage.
    #[error("its `clouds:` is written in a way that cannot be edited")]
    Form,
    /// One of our marks is there without the other.
    #[error("the line `{0}` has lost its partner")]
    Marks(String),
    /// It is longer than any such file.
    #[error("it is longer than {0} bytes")]
    Long(usize),
}

impl CloudsError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Edit { why: EditError::Conflict(_) | EditError::Form, .. } => ErrorKind::Conflict,
            Self::Edit { .. } => ErrorKind::Invalid,
            Self::NotOwned { .. } => ErrorKind::Denied,
            Self::NoHome { .. } => ErrorKind::NotFound,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Edit { why: EditError::Conflict(_), .. } => {
                "rename or remove that entry, or use the stackrc files instead"
            }
            Self::Edit { why: EditError::Form, .. } => {
                "write `clouds:` on a line of its own with the clouds below it"
            }
            Self::Edit { why: EditError::Marks(_), .. } => {
                "remove that line and what was added below it"
            }
            Self::Edit { .. } => "correct the file, or move it away",
            Self::Io { .. } | Self::NotOwned { .. } => "use the stackrc files instead",
            Self::NoHome { .. } => "set HOME",
        }
    }
}
