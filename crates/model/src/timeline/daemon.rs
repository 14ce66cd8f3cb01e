//! The daemon's own parts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;

/// A part of the daemon does not work, or does again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Part {
    /// It does not work.
    Trouble {
        /// Which.
        part: String,
        /// Why not.
        why: String,
    },
    /// It works again.
    TroubleOver {
        /// Which.
        part: String,
    },
}

impl Part {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::Trouble { .. } => Severity::Error,
            Self::TroubleOver { .. } => Severity::Info,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble { part, why } => write!(f, "{part}: {why}"),
            Self::TroubleOver { part } => write!(f, "{part}: it works again"),
        }
    }
}
