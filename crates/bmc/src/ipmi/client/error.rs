//! What can go wrong between us and a baseboard controller, told apart.

use std::{io, net::SocketAddr};

use thiserror::Error;

use crate::ipmi::{
    completion::Completion, msg::status::Status, privilege::Privilege, wire::WireError,
};

/// Why a call to a controller failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Our own socket.
    #[error("BMC {address}: cannot use a socket")]
    Socket {
        /// The controller.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Our own random numbers.
    #[error("BMC {address}: the system gives no random bytes")]
    Random {
        /// The controller.
        address: SocketAddr,
        /// What the system says.
        source: getrandom::Error,
    },
    /// Not one answer: a wrong address, a wrong port, a cable.
    #[error("BMC {address} does not answer")]
    Unreachable {
        /// The controller.
        address: SocketAddr,
    },
    /// The controller does not know this user with this password.
    #[error("BMC {address} refuses user {user:?}: wrong password, or no such user")]
    AuthenticationFailed {
        /// The controller.
        address: SocketAddr,
        /// The user.
        user: String,
        /// What the controller said; nothing when its own proof was wrong already.
        status: Option<Status>,
    },
    /// The controller speaks none of the suites that we accept.
    #[error("BMC {address} offers none of the cipher suites {suites}")]
    NoCommonSuite {
        /// The controller.
        address: SocketAddr,
        /// Those that were tried.
        suites: String,
    },
    /// The user may not do that.
    #[error("BMC {address}: {operation} needs more than privilege {privilege}")]
    PrivilegeTooLow {
        /// The controller.
        address: SocketAddr,
        /// What was tried.
        operation: &'static str,
        /// The level that was asked for.
        privilege: Privilege,
    },
    /// The controller refused to open a session, for another reason.
    #[error("BMC {address} refuses {operation}: {status}")]
    Refused {
        /// The controller.
        address: SocketAddr,
        /// Which message.
        operation: &'static str,
        /// Why.
        status: Status,
    },
    /// The controller answered that the command failed.
    #[error("BMC {address}: {command} failed: {code}")]
    Completion {
        /// The controller.
        address: SocketAddr,
        /// The command.
        command: &'static str,
        /// How it ended.
        code: Completion,
    },
    /// Another console has the machine's serial port.
    #[error("BMC {address}: another console has the serial port")]
    ConsoleTaken {
        /// The controller.
        address: SocketAddr,
    },
    /// The controller had answered before, but not this.
    #[error("BMC {address} did not answer {operation} in {attempts} attempts")]
    Timeout {
        /// The controller.
        address: SocketAddr,
        /// What was asked.
        operation: &'static str,
        /// How often.
        attempts: u32,
    },
    /// The command may have been executed or not: read the state before trying again.
    #[error("BMC {address} did not answer {command}: whether it was executed is not known")]
    OutcomeUnknown {
        /// The controller.
        address: SocketAddr,
        /// The command.
        command: &'static str,
    },
    /// The controller answers, but not what the specification says.
    #[error("BMC {address} answered {operation} with something else")]
    Malformed {
        /// The controller.
        address: SocketAddr,
        /// What was asked.
        operation: &'static str,
        /// What is wrong.
        source: WireError,
    },
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nobody there, for now: try again later.
    Unavailable,
    /// Somebody there, but busy: try again soon.
    Busy,
    /// Credentials or privilege: a person has to change something.
    Denied,
    /// Not in the machine's present state.
    Conflict,
    /// This controller cannot do that at all.
    Unsupported,
    /// Done or not done: read the state first.
    Unknown,
    /// The controller, or this crate, is wrong.
    Bug,
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Socket { .. }
            | Self::Random { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. } => ErrorKind::Unavailable,
            Self::AuthenticationFailed { .. } | Self::PrivilegeTooLow { .. } => ErrorKind::Denied,
            Self::NoCommonSuite { .. } => ErrorKind::Unsupported,
            Self::Refused { status, .. } => match *status {
                Status::INSUFFICIENT_RESOURCES => ErrorKind::Busy,
                _ => ErrorKind::Bug,
            },
            Self::Completion { code, .. } => match code.0 {
                0xc0 | 0xc3 | 0xce | 0xd1 | 0xd2 => ErrorKind::Busy,
                // Section 5.2: insufficient privilege level.
                0xd4 => ErrorKind::Denied,
                0xd5 => ErrorKind::Conflict,
                0x80 | 0xc1 | 0xc2 | 0xc9 | 0xcb | 0xcc | 0xd3 | 0xd6 => ErrorKind::Unsupported,
                _ => ErrorKind::Bug,
            },
            Self::ConsoleTaken { .. } => ErrorKind::Conflict,
            Self::OutcomeUnknown { .. } => ErrorKind::Unknown,
            Self::Malformed { .. } => ErrorKind::Bug,
        }
    }
}
