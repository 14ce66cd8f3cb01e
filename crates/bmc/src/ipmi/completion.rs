//! Completion codes: the first byte of every answer (section 5.2).

use std::fmt;

use super::wire::WireError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Completion(pub u8);

impl Completion {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// Generic 0x80 of several commands: "parameter not supported" for boot options and the
    /// like, "level not available" for Set Session Privilege Level.
    pub const PARAMETER_NOT_SUPPORTED: Self = Self(0x80);
    /// Generic 0x81: "set in progress already", "level exceeds the limit".
    pub const SET_IN_PROGRESS: Self = Self(0x81);
    /// The level asked for exceeds that of the user or of the session (section 22.18).
    pub const LEVEL_EXCEEDS_LIMIT: Self = Self(0x81);
    /// The parameter can only be read (section 28.12).
    pub const READ_ONLY: Self = Self(0x82);
    /// Close Session: no such session (section 22.19).
    pub const NO_SUCH_SESSION: Self = Self(0x87);
    /// Busy, try again.
    pub const NODE_BUSY: Self = Self(0xc0);
    /// No such command here.
    pub const INVALID_COMMAND: Self = Self(0xc1);
    /// No such command on this logical unit.
    pub const INVALID_FOR_LUN: Self = Self(0xc2);
    /// It took too long.
    pub const TIMEOUT: Self = Self(0xc3);
    /// There is no room for it.
    pub const OUT_OF_SPACE: Self = Self(0xc4);
    /// The reservation is another's, or over.
    pub const RESERVATION_INVALID: Self = Self(0xc5);
    /// Not for a sensor or record of this kind.
    pub const ILLEGAL_FOR_SENSOR: Self = Self(0xcd);
    /// The request is too short or too long.
    pub const LENGTH_INVALID: Self = Self(0xc7);
    /// A number is beyond what there is.
    pub const PARAMETER_OUT_OF_RANGE: Self = Self(0xc9);
    /// What was asked for does not exist.
    pub const NOT_PRESENT: Self = Self(0xcb);
    /// A field of the request has a value that is not possible here.
    pub const INVALID_FIELD: Self = Self(0xcc);
    /// Nobody lives at the address that the request names.
    pub const DESTINATION_UNAVAILABLE: Self = Self(0xd3);
    /// The session's privilege is too low.
    pub const PRIVILEGE_TOO_LOW: Self = Self(0xd4);
    /// Not in this state; what real controllers say to "power cycle" of a machine that is off.
    pub const WRONG_STATE: Self = Self(0xd5);
    /// Something else.
    pub const UNSPECIFIED: Self = Self(0xff);

    /// What a request that cannot be read is answered.
    #[must_use]
    pub fn of_error(error: &WireError) -> Self {
        match error {
            WireError::Short { .. } | WireError::Long { .. } => Self::LENGTH_INVALID,
            WireError::Reserved { .. } | WireError::Checksum { .. } => Self::INVALID_FIELD,
        }
    }

    /// The meaning, for people; the codes 0x80 to 0xbe mean something else for each command.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self.0 {
            0x00 => "completed",
            0x01..=0x7e => "device-specific (OEM) code",
            0x80..=0xbe => "command-specific code",
            0xc0 => "node busy",
            0xc1 => "invalid command",
            0xc2 => "command invalid for this LUN",
            0xc3 => "timeout",
            0xc4 => "out of space",
            0xc5 => "reservation cancelled or invalid",
            0xc6 => "request data truncated",
            0xc7 => "request data length invalid",
            0xc8 => "request data field length limit exceeded",
            0xc9 => "parameter out of range",
            0xca => "cannot return the number of bytes asked for",
            0xcb => "requested sensor, data or record not present",
            0xcc => "invalid data field in request",
            0xcd => "command illegal for this sensor or record",
            0xce => "response could not be provided",
            0xcf => "duplicated request",
            0xd0 => "SDR repository in update mode",
            0xd1 => "device firmware in update mode",
            0xd2 => "BMC initialization in progress",
            0xd3 => "destination unavailable",
            0xd4 => "insufficient privilege level",
            0xd5 => "not supported in present state",
            0xd6 => "command or sub-function disabled",
            0xff => "unspecified error",
            _ => "reserved code",
        }
    }
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} ({})", self.0, self.text())
    }
}
