//! What a controller keeps when its process ends: its users and its [`Nvram`], as one value.
//!
//! [`Memory`] is the value while it is used; [`MemoryFile`] writes it down after every change, so
//! that a controller comes back with its event log, its clock, its policy and its users. IPMI
//! needs the passwords themselves (see [`crate::accounts`]), so the file is for its owner alone.

mod file;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

pub use self::file::MemoryFile;
use crate::{
    accounts::{Account, Accounts},
    credentials::Password,
    ipmi::command::nvram::{Nvram, NvramCell},
    privilege::Privilege,
};

/// The form of the value; another one is not guessed at.
const VERSION: u8 = 1;

/// What a controller keeps. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Its users.
    pub accounts: Accounts,
    /// The rest.
    pub nvram: NvramCell,
}

/// Why a value that was kept cannot be used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// Not what was written.
    #[error("what a BMC kept is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("what a BMC kept has form {got}; {VERSION} is known")]
    Version {
        /// Its form.
        got: u8,
    },
    /// A level that there is not.
    #[error("the user in slot {slot} has level {got}")]
    Level {
        /// Which.
        slot: u8,
        /// What it has.
        got: u8,
    },
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u8,
    users: BTreeMap<u8, KeptUser>,
    nvram: Nvram,
}

#[derive(Serialize, Deserialize)]
struct KeptUser {
    name: String,
    #[serde(with = "digits")]
    password: Option<Password>,
    level: u8,
    enabled: bool,
}

/// A password in hexadecimal: it need not be text.
mod digits {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error as _};
    use zeroize::Zeroizing;

    use super::Password;

    pub(super) fn serialize<S: Serializer>(
        password: &Option<Password>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let digits = password.as_ref().map(|it| Zeroizing::new(hex::encode(it.bytes())));
        digits.as_ref().map(|it| it.as_str()).serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<Password>, D::Error> {
        let Some(digits) = Option::<String>::deserialize(from)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(hex::decode(digits.as_bytes()).map_err(D::Error::custom)?);
        Password::new(&bytes).map(Some).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("version", &self.version).finish_non_exhaustive()
    }
}

impl From<Accounts> for Memory {
    fn from(accounts: Accounts) -> Self {
        Self::new(accounts)
    }
}

impl Memory {
    /// Of a controller that runs for the first time.
    #[must_use]
    pub fn new(accounts: impl Into<Accounts>) -> Self {
        Self { accounts: accounts.into(), nvram: NvramCell::default() }
    }

    /// Reads what [`Memory::to_json`] wrote.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, MemoryError> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(MemoryError::Damaged)?;
        if kept.version != VERSION {
            return Err(MemoryError::Version { got: kept.version });
        }
        let mut table = BTreeMap::new();
        for (slot, user) in kept.users {
            let level = MemoryError::Level { slot, got: user.level };
            let privilege = Privilege::from_bits(user.level).ok_or(level)?;
            let KeptUser { name, password, enabled, .. } = user;
            table.insert(slot, Account { name, password, privilege, enabled });
        }
        let nvram = NvramCell::new(kept.nvram);
        Ok(Self { accounts: Accounts::from_table(table), nvram })
    }

    /// The value as it is now.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let user = |account: Account| KeptUser {
            password: account.password,
            name: account.name,
            level: account.privilege.bits(),
            enabled: account.enabled,
        };
        let users = self.accounts.table().into_iter().map(|(slot, it)| (slot, user(it)));
        let kept = Kept { version: VERSION, users: users.collect(), nvram: self.nvram.export() };
        #[expect(clippy::expect_used, reason = "strings, numbers and maps by number")]
        let json = serde_json::to_vec(&kept).expect("invariant: JSON can say all of it");
        Zeroizing::new(json)
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> MemoryChanges {
        MemoryChanges { users: self.accounts.changes(), nvram: self.nvram.changes() }
    }
}

/// Waits for changes of a [`Memory`].
#[derive(Debug)]
pub struct MemoryChanges {
    users: watch::Receiver<u64>,
    nvram: watch::Receiver<u64>,
}

impl MemoryChanges {
    /// Returns after a change that was not told of; `false` when there can be no more.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            users = self.users.changed() => users.is_ok(),
            nvram = self.nvram.changed() => nvram.is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accounts::SLOT_FIRST, credentials::Credentials};

    fn memory() -> Memory {
        Memory::new(Credentials::new("admin", "0123456789abcdef").expect("credentials"))
    }

    #[test]
    fn everything_comes_back() {
        let memory = memory();
        let guest = Account {
            name: "guest".into(),
            password: None,
            privilege: Privilege::User,
            enabled: false,
        };
        memory.accounts.change(9, |_| Some(guest)).expect("changed");
        memory.nvram.change(|it| {
            it.restore_policy = Some(2);
            it.system_info.insert(3, b"\0\x05debian".to_vec());
            it.add_event([2; 16])
        });
        let again = Memory::from_json(&memory.to_json()).expect("read");
        assert_eq!(again.nvram.export(), memory.nvram.export());
        assert_eq!(again.to_json(), memory.to_json());
        let admin = again.accounts.slot(SLOT_FIRST).expect("admin");
        assert!(admin.password.is_some_and(|password| password.is(b"0123456789abcdef")));
        assert_eq!(
            again.accounts.slot(9).map(|it| (it.name, it.enabled)),
            Some(("guest".into(), false))
        );
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let good = String::from_utf8(memory().to_json().to_vec()).expect("UTF-8");
        let cut = &good[..good.len() - 1];
        assert!(matches!(Memory::from_json(cut.as_bytes()), Err(MemoryError::Damaged(_))));
        let later = good.replace("\"version\":1", "\"version\":2");
        assert!(matches!(
            Memory::from_json(later.as_bytes()),
            Err(MemoryError::Version { got: 2 })
        ));
        let level = good.replace("\"level\":4", "\"level\":9");
        assert!(matches!(Memory::from_json(level.as_bytes()), Err(MemoryError::Level { .. })));
        for bad in ["zz", "", "00"] {
            let word = good.replace("30313233343536373839616263646566", bad);
            assert!(matches!(Memory::from_json(word.as_bytes()), Err(MemoryError::Damaged(_))));
        }
    }
}
