//! What is wrong with an installed cloud, and that it is over.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::{
    UnixMillis,
    ailment::{Ailment, Subject, over},
};

/// A trouble that began, changed its kind, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HealthNews {
    /// Something is wrong.
    Ill {
        /// What.
        ailment: Ailment,
        /// One sentence, with the cause where it is known.
        text: String,
        /// What to do.
        hint: Option<String>,
        /// What the service said last.
        said: Vec<String>,
    },
    /// It is well again.
    Well {
        /// What was ill.
        over: Subject,
        /// From then on.
        since: UnixMillis,
        /// For so long.
        seconds: i64,
    },
}

impl HealthNews {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::Ill { .. } => Severity::Error,
            Self::Well { .. } => Severity::Info,
        }
    }
}

impl fmt::Display for HealthNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ill { text, hint: None, .. } => f.write_str(text),
            Self::Ill { text, hint: Some(hint), .. } => write!(f, "{text}; {hint}"),
            Self::Well { over: subject, seconds, .. } => {
                write!(f, "{}, after {seconds} s", over(subject))
            }
        }
    }
}
