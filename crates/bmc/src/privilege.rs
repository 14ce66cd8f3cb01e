//! Privilege levels (section 6.8), in ascending order.

use std::fmt;

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Hang up, and little else.
    Callback = 1,
    /// Read.
    User = 2,
    /// Operate: power, boot device.
    Operator = 3,
    /// Configure.
    Administrator = 4,
}

impl Privilege {
    /// From the four bits of the wire; `None` for "highest", "OEM" and what is reserved.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Callback),
            2 => Some(Self::User),
            3 => Some(Self::Operator),
            4 => Some(Self::Administrator),
            _ => None,
        }
    }

    /// The four bits of the wire.
    #[must_use]
    pub fn bits(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Callback => "CALLBACK",
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
        })
    }
}
