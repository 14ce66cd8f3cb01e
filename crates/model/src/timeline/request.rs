//! What people ask for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;

/// Somebody asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Asked {
    /// A person wants it of a node.
    For {
        /// What: `deploy overcloud-full`.
        verb: String,
    },
    /// It waited, and when its turn came the node did not allow it any more.
    NotTaken {
        /// What.
        verb: String,
        /// Why not.
        why: String,
        /// The request's number: whoever asked knows by it that theirs is meant
        /// (`Verb::NOT_TAKEN`).
        not_taken: Option<i64>,
    },
    /// A person agreed that a disk is erased.
    ToErase {
        /// Who.
        by: String,
        /// Which disk.
        disk: String,
        /// What was on it.
        holds: String,
    },
    /// Nobody agrees any more that disks of this machine are erased.
    NotToErase,
}

impl Asked {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::For { .. } | Self::ToErase { .. } | Self::NotToErase => Severity::Info,
            Self::NotTaken { .. } => Severity::Warning,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For { verb } => write!(f, "asked for: {verb}"),
            Self::NotTaken { verb, why, .. } => write!(f, "{verb} was not taken up: {why}"),
            Self::ToErase { by, disk, holds } => {
                write!(f, "{by} agreed that {disk} is erased, which holds: {holds}")
            }
            Self::NotToErase => f.write_str("approvals to erase disks were withdrawn"),
        }
    }
}
