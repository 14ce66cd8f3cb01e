//! Status codes of Open Session and RAKP (table 13-15). Ironic falls back to another suite only
//! on 0x11 and 0x09, so these have to be the right ones.

use std::fmt;

/// Why a handshake does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

impl Status {
    /// No room for a session.
    pub const INSUFFICIENT_RESOURCES: Self = Self(0x01);
    /// No such session id.
    pub const INVALID_SESSION_ID: Self = Self(0x02);
    /// No such session, or no longer.
    pub const INACTIVE_SESSION_ID: Self = Self(0x08);
    /// No such privilege level.
    pub const INVALID_ROLE: Self = Self(0x09);
    /// Not this level for this user.
    pub const UNAUTHORIZED_ROLE: Self = Self(0x0a);
    /// The user name is too long.
    pub const INVALID_NAME_LENGTH: Self = Self(0x0c);
    /// The user name is empty, or not known.
    pub const UNAUTHORIZED_NAME: Self = Self(0x0d);
    /// The key exchange code is wrong.
    pub const INVALID_INTEGRITY_CHECK: Self = Self(0x0f);
    /// None of the proposed algorithms.
    pub const NO_CIPHER_SUITE: Self = Self(0x11);
    /// A parameter that makes no sense here.
    pub const ILLEGAL_PARAMETER: Self = Self(0x12);

    /// `None` for zero, "no errors".
    #[must_use]
    pub fn refusal(status: u8) -> Option<Self> {
        (status != 0).then_some(Self(status))
    }

    /// The meaning, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self.0 {
            0x00 => "no errors",
            0x01 => "insufficient resources to create a session",
            0x02 => "invalid session id",
            0x03 => "invalid payload type",
            0x04 => "invalid authentication algorithm",
            0x05 => "invalid integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "inactive session id",
            0x09 => "invalid role",
            0x0a => "unauthorized role or privilege level requested",
            0x0b => "insufficient resources to create a session at the requested role",
            0x0c => "invalid name length",
            0x0d => "unauthorized name",
            0x0e => "unauthorized GUID",
            0x0f => "invalid integrity check value",
            0x10 => "invalid confidentiality algorithm",
            0x11 => "no cipher suite match with proposed security algorithms",
            0x12 => "illegal or unrecognized parameter",
            _ => "reserved status",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} ({})", self.0, self.text())
    }
}
