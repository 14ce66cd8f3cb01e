//! What can go wrong between us and a Redfish service, told apart.

use thiserror::Error;

use super::quirks;
use crate::redfish::link::LinkError;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The service has no such thing.
    NotFound,
    /// Not in the present state.
    Conflict,
    /// The service does not accept what was asked.
    Invalid,
    /// Wrong credentials, or too few rights.
    Denied,
    /// Ask again later.
    Busy,
    /// Nobody answers.
    Unavailable,
    /// It may have been done or not: read the state first.
    Unknown,
    /// The service is broken.
    Broken,
}

/// Why a call to a service failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No answer.
    #[error("Redfish {operation} got no answer")]
    Link {
        /// What was tried.
        operation: String,
        /// How far it got.
        #[source]
        source: LinkError,
    },
    /// No answer to something that must not be done twice.
    #[error("Redfish {operation} got no answer: whether it was done is not known")]
    OutcomeUnknown {
        /// What was tried.
        operation: String,
        /// How far it got.
        #[source]
        source: LinkError,
    },
    /// The service said no.
    #[error("Redfish {operation}: status {status}: {message}")]
    Refused {
        /// What was tried.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// The service's own words, and the properties that they are about.
        message: String,
        /// Which message that is, `Base.1.18.GeneralError`; empty when it does not say.
        message_id: String,
    },
    /// What the service sent is not Redfish.
    #[error("Redfish {operation}: the answer has no good `{field}`{}", not_redfish(field))]
    Malformed {
        /// What was tried.
        operation: String,
        /// What is missing or wrong.
        field: &'static str,
    },
    /// The service said yes, and shows something else.
    #[error("Redfish {operation}: it said yes to {asked}, and shows {shown}")]
    NotKept {
        /// What was tried.
        operation: String,
        /// What was asked for.
        asked: String,
        /// What it shows then.
        shown: String,
    },
    /// The service sends us to another place, whom we have no reason to believe.
    #[error("Redfish {operation}: it sends us to {to}")]
    Moved {
        /// What was tried.
        operation: String,
        /// Where to.
        to: String,
    },
    /// The service has several systems, and none was named.
    #[error("the login shows several systems: {systems}")]
    ManySystems {
        /// The first of them.
        systems: String,
    },
    /// The service does not offer it at all.
    #[error("this Redfish service offers no {what}")]
    NotOffered {
        /// What.
        what: String,
    },
}

impl ClientError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Link { source, .. } => match source {
                LinkError::Address { .. } => ErrorKind::Invalid,
                // A wrong certificate stays wrong.
                LinkError::Tls { .. } => ErrorKind::Denied,
                LinkError::TooLarge { .. } => ErrorKind::Broken,
                LinkError::Connect { .. } | LinkError::Exchange { .. } | LinkError::Slow { .. } => {
                    ErrorKind::Unavailable
                }
            },
            Self::OutcomeUnknown { .. } => ErrorKind::Unknown,
            Self::Refused { message_id, .. } if quirks::is_busy(message_id) => ErrorKind::Busy,
            Self::Refused { message_id, .. } if quirks::is_denied(message_id) => ErrorKind::Denied,
            Self::Refused { status, .. } => match status {
                401 | 403 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                409 | 412 => ErrorKind::Conflict,
                408 | 429 | 503 => ErrorKind::Busy,
                400..=499 => ErrorKind::Invalid,
                _ => ErrorKind::Broken,
            },
            Self::Malformed { .. } => ErrorKind::Broken,
            Self::NotKept { .. } | Self::Moved { .. } => ErrorKind::Conflict,
            Self::ManySystems { .. } => ErrorKind::Invalid,
            Self::NotOffered { .. } => ErrorKind::NotFound,
        }
    }
}

/// What an answer without a good body is, as a rule.
fn not_redfish(field: &str) -> &'static str {
    if field == "body" { ": it is no JSON object, as a page for people would be" } else { "" }
}
