//! Who a name and a password are: an index from keyed digests to users.
//!
//! Passwords of virtual controllers are random (128 bits), and IPMI needs them readable, so a
//! slow hash would buy nothing and cost each request. A login is looked up by
//! HMAC-SHA256(key of this process, name ‖ password): unknown names and wrong passwords are the
//! same miss, and the time that a look-up takes says nothing about a password.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq;

use super::site::{Site, Unit};
use crate::{
    accounts::{Account, Accounts},
    mac::{Hash, Mac},
    privilege::Privilege,
};

/// How often tables are looked at for changes although a login was found.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// What a user may do; the predefined roles of DSP0266, 13.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Look.
    ReadOnly,
    /// Look, and switch machines.
    Operator,
    /// Everything.
    Administrator,
}

impl Role {
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("Administrator", Self::Administrator),
        ("Operator", Self::Operator),
        ("ReadOnly", Self::ReadOnly),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "ReadOnly",
            Self::Operator => "Operator",
            Self::Administrator => "Administrator",
        }
    }

    /// The privileges of a role, as its resource lists them.
    pub(super) fn privileges(self) -> &'static [&'static str] {
        match self {
            Self::ReadOnly => &["Login", "ConfigureSelf"],
            Self::Operator => &["Login", "ConfigureComponents", "ConfigureSelf"],
            Self::Administrator => &[
                "Login",
                "ConfigureManager",
                "ConfigureUsers",
                "ConfigureComponents",
                "ConfigureSelf",
            ],
        }
    }

    pub(super) fn of(privilege: Privilege) -> Option<Self> {
        match privilege {
            Privilege::Callback => None,
            Privilege::User => Some(Self::ReadOnly),
            Privilege::Operator => Some(Self::Operator),
            Privilege::Administrator => Some(Self::Administrator),
        }
    }

    pub(super) fn privilege(self) -> Privilege {
        match self {
            Self::ReadOnly => Privilege::User,
            Self::Operator => Privilege::Operator,
            Self::Administrator => Privilege::Administrator,
        }
    }
}

/// A name and a password, as only this process can tell.
pub(super) type Digest = [u8; 32];

/// Whose table: a machine's, or the site's.
pub(super) type Owner = Option<String>;

/// A user's right to one machine, or to all.
#[derive(Clone)]
pub(super) struct Grant {
    /// `None`: the site's.
    pub(super) unit: Option<Arc<Unit>>,
    pub(super) slot: u8,
    pub(super) role: Role,
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Principal {
    pub(super) digest: Digest,
    pub(super) user: String,
    pub(super) grants: Vec<Grant>,
}

impl Principal {
    /// What it may do to a machine; `None` when it must not know of it.
    pub(super) fn role_at(&self, unit: &Unit) -> Option<Role> {
        let covers = |grant: &&Grant| grant.unit.as_ref().is_none_or(|own| own.id == unit.id);
        self.grants.iter().filter(covers).map(|grant| grant.role).max()
    }

    pub(super) fn is_site(&self) -> bool {
        self.grants.iter().any(|grant| grant.unit.is_none())
    }

    /// The highest role anywhere.
    pub(super) fn role(&self) -> Role {
        self.grants.iter().map(|grant| grant.role).max().unwrap_or(Role::ReadOnly)
    }

    /// Whether it administers every machine, and so the service as a whole.
    pub(super) fn administers_all(&self, site: &Site) -> bool {
        let administers = |grant: &&Grant| grant.role == Role::Administrator;
        let mut grants = self.grants.iter().filter(administers);
        grants.clone().any(|grant| grant.unit.is_none()) || grants.by_ref().count() == site.count()
    }

    /// The machines that it sees.
    pub(super) fn units(&self, site: &Site) -> Vec<Arc<Unit>> {
        if self.is_site() {
            return site.units();
        }
        self.grants.iter().filter_map(|grant| grant.unit.clone()).collect()
    }

    /// Whether a user's slot is its own.
    pub(super) fn is_slot(&self, owner: Option<&str>, slot: u8) -> bool {
        let same = |grant: &Grant| {
            grant.slot == slot && grant.unit.as_ref().map(|unit| unit.id.as_str()) == owner
        };
        self.grants.iter().any(same)
    }
}

/// The digests of one table, and when they were made.
struct Table {
    version: u64,
    digests: Vec<Digest>,
}

#[derive(Default)]
struct Index {
    users: HashMap<Digest, Vec<(Owner, u8)>>,
    tables: HashMap<Owner, Table>,
    scanned: Option<Instant>,
}

/// Finds users.
pub(super) struct Login {
    key: [u8; 32],
    site: Site,
    index: Mutex<Index>,
}

impl Login {
    pub(super) fn new(key: [u8; 32], site: Site) -> Self {
        Self { key, site, index: Mutex::default() }
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> Digest {
        let mac = Mac::new(Hash::Sha256, &self.key, parts);
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(mac.as_slice()) {
            *to = *from;
        }
        digest
    }

    pub(super) fn digest(&self, user: &[u8], password: &[u8]) -> Digest {
        self.mac(&[b"login", &(user.len() as u64).to_le_bytes(), user, password])
    }

    fn digest_of(&self, account: &Account) -> Option<Digest> {
        let password = account.password.as_ref()?;
        Some(self.digest(account.name.as_bytes(), password.bytes()))
    }

    /// Who it is now: rights are read from the tables each time, so that a changed password, a
    /// disabled user and a machine that is gone count at once.
    pub(super) fn principal(&self, digest: Digest, now: Instant) -> Option<Principal> {
        let found = {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = index.scanned.is_some_and(|at| now.duration_since(at) < SCAN_EVERY);
            if !fresh || !index.users.contains_key(&digest) {
                self.refresh(&mut index);
                index.scanned = Some(now);
            }
            index.users.get(&digest).cloned()?
        };
        let mut principal = Principal { digest, user: String::new(), grants: Vec::new() };
        for (owner, slot) in found {
            let unit = match &owner {
                Some(id) => match self.site.unit(id) {
                    Some(unit) => Some(unit),
                    None => continue,
                },
                None => None,
            };
            let accounts = unit.as_ref().map(|u| &u.accounts).or(self.site.accounts.as_ref());
            let Some(account) = accounts.and_then(|accounts| accounts.slot(slot)) else { continue };
            let same = self.digest_of(&account).is_some_and(|own| bool::from(own.ct_eq(&digest)));
            let Some(role) = Role::of(account.privilege).filter(|_| same && account.enabled) else {
                continue;
            };
            principal.user = account.name;
            principal.grants.push(Grant { unit, slot, role });
        }
        (!principal.grants.is_empty()).then_some(principal)
    }

    fn refresh(&self, index: &mut Index) {
        let units = self.site.units();
        if let (Some(accounts), Some(changes)) = (&self.site.accounts, &self.site.account_changes) {
            self.reread(index, &None, accounts, *changes.borrow());
        }
        for unit in &units {
            let version = *unit.account_changes.borrow();
            let owner = Some(unit.id.clone());
            self.reread(index, &owner, &unit.accounts, version);
        }
        if index.tables.len() > units.len() + 1 {
            let gone =
                |owner: &Owner| owner.as_ref().is_some_and(|id| self.site.unit(id).is_none());
            let gone: Vec<Owner> = index.tables.keys().filter(|o| gone(o)).cloned().collect();
            for owner in gone {
                forget(index, &owner);
            }
        }
    }

    fn reread(&self, index: &mut Index, owner: &Owner, accounts: &Accounts, version: u64) {
        if index.tables.get(owner).is_some_and(|table| table.version == version) {
            return;
        }
        forget(index, owner);
        let mut digests = Vec::new();
        for (slot, account) in accounts.table() {
            if let Some(digest) = self.digest_of(&account) {
                index.users.entry(digest).or_default().push((owner.clone(), slot));
                digests.push(digest);
            }
        }
        index.tables.insert(owner.clone(), Table { version, digests });
    }
}

fn forget(index: &mut Index, owner: &Owner) {
    let digests = index.tables.remove(owner).map(|table| table.digests).unwrap_or_default();
    for digest in digests {
        if let Some(users) = index.users.get_mut(&digest) {
            users.retain(|(other, _)| other != owner);
            if users.is_empty() {
                index.users.remove(&digest);
            }
        }
    }
}
