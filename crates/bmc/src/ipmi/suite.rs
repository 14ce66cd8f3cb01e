//! The two cipher suites this crate speaks (section 22.15.2).
//!
//! Every other suite lacks integrity or encryption, or rests on MD5. They are not configurable:
//! a peer that offers nothing better gets status 0x11.

use std::fmt;

use crate::mac::Hash;

/// Authentication, integrity and encryption, chosen together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

/// The numbers of one suite's algorithms, as Open Session carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms {
    /// Authentication (table 13-17).
    pub authentication: u8,
    /// Integrity (table 13-18).
    pub integrity: u8,
    /// Confidentiality (table 13-19).
    pub confidentiality: u8,
}

impl CipherSuite {
    /// Best first.
    pub const PREFERRED: [Self; 2] = [Self::Suite17, Self::Suite3];

    /// The suite's number.
    #[must_use]
    pub fn id(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// The suite's algorithms.
    #[must_use]
    pub fn algorithms(self) -> Algorithms {
        match self {
            Self::Suite3 => Algorithms { authentication: 1, integrity: 1, confidentiality: 1 },
            Self::Suite17 => Algorithms { authentication: 3, integrity: 4, confidentiality: 1 },
        }
    }

    /// The suite made of exactly these algorithms, if we speak it.
    #[must_use]
    pub fn from_algorithms(algorithms: Algorithms) -> Option<Self> {
        Self::PREFERRED.into_iter().find(|suite| suite.algorithms() == algorithms)
    }

    /// Length of the key exchange codes in RAKP 2 and 3.
    #[must_use]
    pub fn exchange_code_length(self) -> usize {
        match self {
            Self::Suite3 => 20,
            Self::Suite17 => 32,
        }
    }

    /// Length of the integrity code of RAKP 4 and of each packet.
    #[must_use]
    pub fn integrity_length(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// The record that Get Channel Cipher Suites lists (table 22-18).
    #[must_use]
    pub fn record(self) -> [u8; 5] {
        let Algorithms { authentication, integrity, confidentiality } = self.algorithms();
        [0xc0, self.id(), authentication, 0x40 | integrity, 0x80 | confidentiality]
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}
impl From<CipherSuite> for Hash {
    fn from(suite: CipherSuite) -> Self {
        match suite {
            CipherSuite::Suite3 => Self::Sha1,
            CipherSuite::Suite17 => Self::Sha256,
        }
    }
}
