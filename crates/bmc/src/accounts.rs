//! Who may log in to a controller: its table of users, shared by IPMI and Redfish.
//!
//! IPMI numbers its users and needs every password itself, not a digest of it (section 13.31):
//! whoever stores a table stores it readable by its owner alone. Slot 1 is the user without a
//! name; it is never enabled here. Changes are seen at once by every session layer that holds the
//! same [`Accounts`], and by a watcher that writes them down.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, RwLock},
};

use subtle::{Choice, ConditionallySelectable};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    credentials::{self, Credentials, PASSWORD_BYTES_MAX, Password},
    privilege::Privilege,
};

/// Slots of a table; slot 1 belongs to the user without a name (section 22.26).
pub const SLOTS_MAX: u8 = 16;
/// The slot of a controller's first user.
pub const SLOT_FIRST: u8 = 2;

/// A user of a controller.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name; not empty, at most sixteen bytes.
    pub name: String,
    /// The password; `None` until one is set, and then nobody logs in.
    pub password: Option<Password>,
    /// The highest level at which this user opens a session.
    pub privilege: Privilege,
    /// Whether this user may log in.
    pub enabled: bool,
}

/// Why a table does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccountsError {
    /// There is no such slot, or it is that of the user without a name.
    #[error("slot {slot} cannot be used; slots are {SLOT_FIRST} to {SLOTS_MAX}")]
    Slot {
        /// Which.
        slot: u8,
    },
    /// Another slot has this name.
    #[error("slot {slot} has this name already")]
    NameTaken {
        /// Which.
        slot: u8,
    },
    /// Nobody could log in to change it back.
    #[error("the last enabled administrator stays")]
    LastAdministrator,
}

/// A controller's users. Clones share one table.
#[derive(Clone)]
pub struct Accounts {
    table: Arc<RwLock<BTreeMap<u8, Account>>>,
    changes: watch::Sender<u64>,
}

/// What the table has for a name that somebody gave.
pub(crate) struct Login {
    /// The password, filled up with zeros; all zeros for nobody.
    pub(crate) password: Zeroizing<[u8; PASSWORD_BYTES_MAX]>,
    /// Whether somebody of this name may log in.
    pub(crate) known: Choice,
    /// The slot.
    pub(crate) slot: u8,
    /// The level's bits.
    pub(crate) privilege: u8,
}

impl From<Credentials> for Accounts {
    fn from(credentials: Credentials) -> Self {
        Self::single(credentials)
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// A table of one administrator.
    #[must_use]
    pub fn single(credentials: Credentials) -> Self {
        let account = Account {
            name: credentials.user().to_owned(),
            password: Some(credentials.password().clone()),
            privilege: Privilege::Administrator,
            enabled: true,
        };
        Self::from_table(BTreeMap::from([(SLOT_FIRST, account)]))
    }

    /// A table that was written down.
    #[must_use]
    pub fn from_table(table: BTreeMap<u8, Account>) -> Self {
        Self { table: Arc::new(RwLock::new(table)), changes: watch::Sender::new(0) }
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> BTreeMap<u8, Account> {
        self.read().clone()
    }

    /// Looks a name up, in a time that depends on the table alone.
    pub(crate) fn login(&self, name: &[u8]) -> Login {
        let mut login = Login {
            password: Zeroizing::new([0; PASSWORD_BYTES_MAX]),
            known: Choice::from(0),
            slot: 0,
            privilege: 0,
        };
        for (&slot, account) in self.read().iter() {
            let usable = account.enabled && account.password.is_some();
            let mut password = Zeroizing::new([0; PASSWORD_BYTES_MAX]);
            let bytes = account.password.as_ref().map(Password::bytes).unwrap_or_default();
            for (to, from) in password.iter_mut().zip(bytes) {
                *to = *from;
            }
            let this = credentials::same_name(name, &account.name) & Choice::from(u8::from(usable));
            for (to, from) in login.password.iter_mut().zip(password.iter()) {
                *to = u8::conditional_select(to, from, this);
            }
            login.slot = u8::conditional_select(&login.slot, &slot, this);
            let level = account.privilege.bits();
            login.privilege = u8::conditional_select(&login.privilege, &level, this);
            login.known |= this;
        }
        login
    }

    /// One slot.
    #[must_use]
    pub fn slot(&self, slot: u8) -> Option<Account> {
        self.read().get(&slot).cloned()
    }

    /// Counts the changes: whoever writes the table down waits for the next one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes one slot: `change` gets what is there and says what is there afterwards.
    ///
    /// # Errors
    /// [`AccountsError`]; nothing has changed then.
    pub fn change(
        &self,
        slot: u8,
        change: impl FnOnce(Option<Account>) -> Option<Account>,
    ) -> Result<(), AccountsError> {
        if !(SLOT_FIRST..=SLOTS_MAX).contains(&slot) {
            return Err(AccountsError::Slot { slot });
        }
        // A poisoned table is still whole: it is replaced in one assignment.
        let mut table = self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut changed = table.clone();
        if let Some(account) = change(changed.remove(&slot)) {
            let same = changed.iter().find(|(_, other)| other.name == account.name);
            if let Some((&slot, _)) = same {
                return Err(AccountsError::NameTaken { slot });
            }
            changed.insert(slot, account);
        }
        if !changed.values().any(administers) {
            return Err(AccountsError::LastAdministrator);
        }
        *table = changed;
        drop(table);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u8, Account>> {
        self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn administers(account: &Account) -> bool {
    account.enabled && account.password.is_some() && account.privilege == Privilege::Administrator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::single(Credentials::new("admin", "0123456789abcdef").expect("credentials"))
    }

    fn tester() -> Account {
        Account {
            name: "tester".into(),
            password: None,
            privilege: Privilege::User,
            enabled: false,
        }
    }

    #[test]
    fn a_change_is_seen_and_counted() {
        let accounts = accounts();
        let changes = accounts.clone().changes();
        accounts.change(9, |_| Some(tester())).expect("changed");
        assert_eq!(accounts.slot(9).map(|account| account.name), Some("tester".into()));
        assert_eq!(*changes.borrow(), 1);
    }

    #[test]
    fn what_would_lock_everybody_out_is_refused() {
        let accounts = accounts();
        let disabled = |account: Option<Account>| account.map(|a| Account { enabled: false, ..a });
        let error = accounts.change(SLOT_FIRST, disabled);
        assert_eq!(error, Err(AccountsError::LastAdministrator));
        assert_eq!(accounts.change(1, |_| Some(tester())), Err(AccountsError::Slot { slot: 1 }));
        let twin = |_| Some(Account { name: "admin".into(), ..tester() });
        assert_eq!(accounts.change(3, twin), Err(AccountsError::NameTaken { slot: SLOT_FIRST }));
        assert!(accounts.slot(SLOT_FIRST).is_some_and(|account| account.enabled));
    }
}
