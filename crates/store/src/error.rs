//! Why the store could not do what was asked.

use camino::{Utf8Path, Utf8PathBuf};
use sqlx::migrate::MigrateError;
use undercloud_model::{
    ErrorKind, MacAddr, NodeName, RootDeviceError, StepId, consent::NotApproved, node::Refusal,
};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the database {path}")]
    Open {
        /// The file.
        path: Utf8PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The database's tables cannot be brought to this version.
    #[error("cannot bring the database {path} up to date")]
    Migrate {
        /// The file.
        path: Utf8PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A later version of this program wrote it.
    #[error(
        "the database {path} is of a newer version of this program (its tables are version \
         {theirs}, this program's {ours})"
    )]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// A version of its tables that we do not know.
        theirs: i64,
        /// The newest that we know.
        ours: i64,
    },
    /// The file system is full.
    #[error("cannot {operation}: the file system that holds the state is full; free some space")]
    DiskFull {
        /// What was tried.
        operation: &'static str,
    },
    /// SQLite refused.
    #[error("the database cannot {operation}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The database holds something that this version cannot read.
    #[error("the database holds an unreadable {what}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot write down {what}")]
    Unwritable {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No such node.
    #[error("Node {0} could not be found.")]
    NoNode(String),
    /// The name is another node's.
    #[error("A node with name {0} already exists.")]
    NameTaken(NodeName),
    /// The interface is another node's.
    #[error("A port with MAC address {mac} already exists; it is {node}'s, and cannot be {new}'s.")]
    MacTaken {
        /// The interface.
        mac: MacAddr,
        /// Whose it is.
        node: String,
        /// Who was to have it.
        new: NodeName,
    },
    /// The BMC is that of another node's machine.
    #[error("BMC {place} is that of {other}'s machine: {node} cannot have it too")]
    BmcTaken {
        /// The BMC.
        place: String,
        /// Who was to have it.
        node: NodeName,
        /// Whose it is.
        other: NodeName,
    },
    /// There is no address left to give.
    #[error(
        "the provisioning range {first} to {last} has no free address for {node}; widen it or \
         remove nodes: nothing was enrolled"
    )]
    NoAddress {
        /// For whom.
        node: NodeName,
        /// The first address.
        first: std::net::Ipv4Addr,
        /// The last address.
        last: std::net::Ipv4Addr,
    },
    /// Nobody said which addresses to give.
    #[error("no provisioning range is set; the daemon's configuration or the lab sets it")]
    NoRange,
    /// The provisioning range makes no sense.
    #[error("the provisioning range {first} to {last} is not inside {network}")]
    BadRange {
        /// The network.
        network: String,
        /// The first address.
        first: String,
        /// The last address.
        last: String,
    },
    /// The node does not allow it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request is waiting to be taken up.
    #[error("Node {0} has a request that is not taken up yet; ask again in a moment.")]
    Pending(NodeName),
    /// The node may not be changed or removed in this state.
    #[error("cannot {operation} node {node} while it is in state \"{state}\"{hint}")]
    WrongState {
        /// What was tried.
        operation: &'static str,
        /// Which node.
        node: NodeName,
        /// Its state.
        state: String,
        /// What to do.
        hint: &'static str,
    },
    /// Nobody agreed that a disk is erased.
    #[error(
        "no disk of {node} is erased: {why}; look with `undercloud node disks {node}`, then agree \
         with `undercloud node approve {node} DIGEST`"
    )]
    NotApproved {
        /// Whose disk.
        node: NodeName,
        /// Why it may not be.
        why: NotApproved,
    },
    /// Nobody knows what would be erased.
    #[error(
        "{0} was not inspected, so nobody can know what would be erased; type `undercloud node \
         inspect {0}` first"
    )]
    NotInspected(NodeName),
    /// No disk can be chosen.
    #[error("no disk of {node} can be chosen: {source}")]
    NoRootDevice {
        /// Whose disk.
        node: NodeName,
        /// Why not.
        source: RootDeviceError,
    },
    /// An agent speaks of work that it was not given.
    #[error("no open order of this agent's is {0}")]
    NotOrdered(StepId),
    /// Somebody else wrote the node in the meantime.
    #[error("node {0} was changed in the meantime")]
    Stale(NodeName),
    /// No such image.
    #[error("there is no image {0}; `undercloud image list` shows what there is")]
    NoImage(String),
    /// The image cannot be written to a disk.
    #[error("image {0} is no disk image; a deployment needs one, such as overcloud-full")]
    NotADisk(String),
    /// No such deployment of the cloud.
    #[error("there is no deployment {0}; `undercloud cloud list` shows what there is")]
    NoDeployment(i64),
    /// Somebody else wrote the installation in the meantime.
    #[error("installation {0} was changed in the meantime")]
    InstallationMoved(i64),
    /// That cannot happen to the installation now.
    #[error(transparent)]
    Unexpected(#[from] undercloud_model::installation::Unexpected),
    /// No random numbers.
    #[error("the kernel gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// A test's crash point was reached ([`crate::Halt`]).
    #[error("the store is halted, as a test asked for")]
    Halted,
}

impl StoreError {
    /// What the caller can do about it, if the sentence does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::NoNode(_) => Some("undercloud node list".to_owned()),
            Self::Newer { .. } => {
                Some("use that version, or another state (--state); nothing was changed".to_owned())
            }
            Self::BmcTaken { other, .. } => Some(format!(
                "correct the file, or forget the other if it is no machine any more: undercloud \
                 node delete {other}"
            )),
            _ => None,
        }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. }
            | Self::Migrate { .. }
            | Self::DiskFull { .. }
            | Self::Database { .. }
            | Self::NoAddress { .. }
            | Self::NoRange
            | Self::Newer { .. }
            | Self::Random(_)
            | Self::Halted => ErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::Unwritable { .. } | Self::Unexpected(_) => ErrorKind::Bug,
            Self::NoNode(_) | Self::NoImage(_) | Self::NoDeployment(_) => ErrorKind::NotFound,
            Self::NameTaken(_)
            | Self::MacTaken { .. }
            | Self::BmcTaken { .. }
            | Self::WrongState { .. }
            | Self::NotInspected(_)
            | Self::NoRootDevice { .. } => ErrorKind::Conflict,
            Self::NotApproved { .. } | Self::NotOrdered(_) => ErrorKind::Denied,
            Self::NotADisk(_) | Self::BadRange { .. } => ErrorKind::Invalid,
            Self::Refused(refusal) => refusal.kind(),
            Self::Pending(_) | Self::Stale(_) | Self::InstallationMoved(_) => ErrorKind::Busy,
        }
    }
}

/// SQLite's result code for a full disk (`SQLITE_FULL`).
const SQLITE_FULL: &str = "13";

/// Names the operation that failed.
pub(crate) fn sql(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| {
        if is_full(&source) {
            StoreError::DiskFull { operation }
        } else {
            StoreError::Database { operation, source }
        }
    }
}

fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some(SQLITE_FULL)
}

/// The database at `path` cannot be opened.
pub(crate) fn unopened(path: &Utf8Path) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| {
        if is_full(&source) {
            StoreError::DiskFull { operation: "open the database" }
        } else {
            StoreError::Open { path: path.to_owned(), source }
        }
    }
}

/// Its tables cannot be made those of version `ours`.
pub(crate) fn unmigrated(path: &Utf8Path, ours: i64) -> impl FnOnce(MigrateError) -> StoreError {
    move |source| match source {
        MigrateError::VersionMissing(theirs) if theirs > ours => {
            StoreError::Newer { path: path.to_owned(), theirs, ours }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if is_full(&error) =>
        {
            StoreError::DiskFull { operation: "bring the database up to date" }
        }
        source => StoreError::Migrate { path: path.to_owned(), source },
    }
}

/// Names what was unreadable.
pub(crate) fn corrupt<E>(what: &'static str) -> impl FnOnce(E) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| StoreError::Corrupt { what, source: Box::new(source) }
}

/// `value` as JSON.
pub(crate) fn to_json(
    what: &'static str,
    value: &impl serde::Serialize,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Unwritable { what, source })
}

/// JSON as a value.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt(what))
}
