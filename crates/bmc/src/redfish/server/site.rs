//! The machines of a process, and what is kept of each between requests.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use thiserror::Error;
use tokio::sync::watch;

use crate::{
    accounts::Accounts,
    guid::Guid,
    ipmi::command::nvram::NvramCell,
    machine::{Identity, Machine, MachineError, PowerState, Readings},
};

/// Longest id of a machine.
const ID_BYTES_MAX: usize = 64;
/// A rate needs two readings at least this far apart.
const READING_AGE_MIN_MS: u128 = 500;

/// A machine to be served.
pub struct Entry {
    /// Its name in addresses: letters, digits, `-`, `_`, `.` and `:`.
    pub id: String,
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Who may log in to it; share it with the machine's IPMI server.
    pub accounts: Accounts,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a machine is not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SiteError {
    /// The id cannot be part of an address.
    #[error("`{id}` cannot be a machine's id: 1 to {ID_BYTES_MAX} letters, digits, `-_.:`")]
    Id {
        /// Which.
        id: String,
    },
    /// Another machine has this id.
    #[error("there is a machine `{id}` already")]
    Taken {
        /// Which.
        id: String,
    },
}

/// A machine that is served.
pub(super) struct Unit {
    pub(super) id: String,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) accounts: Accounts,
    pub(super) account_changes: watch::Receiver<u64>,
    pub(super) identity: Identity,
    /// What the controller keeps, its event log among it; where somebody keeps it.
    pub(super) nvram: Option<NvramCell>,
    power: Option<watch::Receiver<PowerState>>,
    /// The boot mode that was asked for while no override is in force.
    pub(super) efi: Mutex<Option<bool>>,
    last: Mutex<Option<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    readings: Readings,
    /// Percent of all processors, between the last two readings.
    cpu_percent: Option<f64>,
}

/// What a machine's sensors show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gauges {
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_percent: Option<f64>,
}

impl Unit {
    fn new(entry: Entry, nvram: Option<NvramCell>) -> Self {
        let account_changes = entry.accounts.changes();
        Self {
            identity: entry.machine.identity(),
            nvram,
            power: entry.machine.power_changes(),
            id: entry.id,
            machine: entry.machine,
            accounts: entry.accounts,
            account_changes,
            efi: Mutex::new(None),
            last: Mutex::new(None),
        }
    }

    /// The power state as observed last; asks the machine only where nobody observes it.
    pub(super) async fn power(&self) -> Result<PowerState, MachineError> {
        match &self.power {
            Some(power) => Ok(*power.borrow()),
            None => self.machine.power_state().await,
        }
    }

    pub(super) fn power_changes(&self) -> Option<watch::Receiver<PowerState>> {
        self.power.clone()
    }

    /// What the machine measures; the load is the mean since the reading before.
    pub(super) async fn gauges(&self, now: Instant) -> Result<Gauges, MachineError> {
        let readings = self.machine.readings().await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let cpu_percent = match *last {
            Some(before) if (now - before.at).as_millis() < READING_AGE_MIN_MS => {
                before.cpu_percent
            }
            before => {
                let percent = before.and_then(|before| load(&before, &readings, now));
                *last = Some(Sample { at: now, readings, cpu_percent: percent });
                percent
            }
        };
        Ok(Gauges { cpu_percent, memory_percent: share(&readings) })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
fn share(readings: &Readings) -> Option<f64> {
    let all = readings.memory_max_bytes;
    (all > 0).then(|| tenths(readings.memory_bytes as f64 / all as f64 * 100.0))
}

/// `None` when the machine was restarted in between: its clock went back.
fn load(before: &Sample, after: &Readings, now: Instant) -> Option<f64> {
    let used = after.cpu_time.checked_sub(before.readings.cpu_time)?;
    let passed = (now - before.at).as_secs_f64() * f64::from(after.cpu_count.max(1));
    (passed > 0.0).then(|| tenths((used.as_secs_f64() / passed * 100.0).min(100.0)))
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// Every machine of a process; machines come and go while it is served. Clones are the same.
#[derive(Clone)]
pub struct Site {
    pub(super) uuid: Guid,
    pub(super) accounts: Option<Accounts>,
    pub(super) account_changes: Option<watch::Receiver<u64>>,
    units: Arc<RwLock<BTreeMap<String, Arc<Unit>>>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl Site {
    /// No machines yet. `uuid` names the service for ever; `accounts` see every machine.
    #[must_use]
    pub fn new(uuid: Guid, accounts: Option<Accounts>) -> Self {
        let account_changes = accounts.as_ref().map(Accounts::changes);
        Self { uuid, accounts, account_changes, units: Arc::default() }
    }

    /// Serves one more machine.
    ///
    /// # Errors
    /// [`SiteError`] when its id cannot be used.
    pub fn add(&self, entry: Entry) -> Result<(), SiteError> {
        self.insert(entry, None)
    }

    /// Serves one more machine, and shows the event log in `nvram`; share it with the machine's
    /// IPMI server.
    ///
    /// # Errors
    /// [`SiteError`] when its id cannot be used.
    pub fn add_logged(&self, entry: Entry, nvram: NvramCell) -> Result<(), SiteError> {
        self.insert(entry, Some(nvram))
    }

    fn insert(&self, entry: Entry, nvram: Option<NvramCell>) -> Result<(), SiteError> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let fits = (1..=ID_BYTES_MAX).contains(&entry.id.len()) && entry.id.chars().all(good);
        // A client would take these out of an address.
        if !fits || entry.id == "." || entry.id == ".." {
            return Err(SiteError::Id { id: entry.id });
        }
        let (id, unit) = (entry.id.clone(), Arc::new(Unit::new(entry, nvram)));
        let mut units = self.units.write().unwrap_or_else(PoisonError::into_inner);
        if units.contains_key(&id) {
            drop(units);
            return Err(SiteError::Taken { id });
        }
        units.insert(id, unit);
        Ok(())
    }

    /// Serves a machine no longer. Returns whether it was served.
    #[must_use]
    pub fn remove(&self, id: &str) -> bool {
        // The machine may be dropped with it, and what that does is not for under this lock.
        let removed = self.units.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        removed.is_some()
    }

    pub(super) fn unit(&self, id: &str) -> Option<Arc<Unit>> {
        self.units.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, by id.
    pub(super) fn units(&self) -> Vec<Arc<Unit>> {
        self.units.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.units.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
