//! The codes of RAKP (sections 13.28 and 13.31), computed alike by both halves.

use super::{
    crypto::{Mac, SessionKeys},
    suite::CipherSuite,
};

/// All that the two sides have told each other in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The agreed suite.
    pub suite: CipherSuite,
    /// The console's id of the session.
    pub console_id: u32,
    /// The controller's id of the session.
    pub controller_id: u32,
    /// The console's challenge.
    pub console_random: [u8; 16],
    /// The controller's challenge.
    pub controller_random: [u8; 16],
    /// The controller's GUID, as on the wire.
    pub guid: [u8; 16],
    /// The role byte of RAKP 1, as it came.
    pub role: u8,
    /// The user's name.
    pub user: Vec<u8>,
}

impl Exchange {
    fn name(&self) -> [u8; 2] {
        [self.role, u8::try_from(self.user.len()).unwrap_or_default()]
    }

    /// The key exchange code of RAKP 2, by the user's password.
    #[must_use]
    pub fn controller_code(&self, password: &[u8]) -> Mac {
        let parts: [&[u8]; 7] = [
            &self.console_id.to_le_bytes(),
            &self.controller_id.to_le_bytes(),
            &self.console_random,
            &self.controller_random,
            &self.guid,
            &self.name(),
            &self.user,
        ];
        Mac::new(self.suite, password, &parts)
    }

    /// The key exchange code of RAKP 3, by the user's password.
    #[must_use]
    pub fn console_code(&self, password: &[u8]) -> Mac {
        let parts: [&[u8]; 4] =
            [&self.controller_random, &self.console_id.to_le_bytes(), &self.name(), &self.user];
        Mac::new(self.suite, password, &parts)
    }

    /// The session integrity key. There is no second key (Kg): the password stands in for it.
    #[must_use]
    pub fn session_integrity_key(&self, password: &[u8]) -> Mac {
        let parts: [&[u8]; 4] =
            [&self.console_random, &self.controller_random, &self.name(), &self.user];
        Mac::new(self.suite, password, &parts)
    }

    /// The integrity check value of RAKP 4; only its first 12 or 16 bytes travel.
    #[must_use]
    pub fn final_code(&self, session_integrity_key: &Mac) -> Mac {
        let parts: [&[u8]; 3] =
            [&self.console_random, &self.controller_id.to_le_bytes(), &self.guid];
        Mac::new(self.suite, session_integrity_key.as_slice(), &parts)
    }

    /// The keys of the session.
    #[must_use]
    pub fn keys(&self, session_integrity_key: &Mac) -> SessionKeys {
        SessionKeys::derive(self.suite, session_integrity_key)
    }
}
