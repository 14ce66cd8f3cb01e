//! What a controller keeps over a reset: its event log, its clock, what it was told to remember.
//!
//! [`Nvram`] is the plain value; [`NvramCell`] is the place where one is while it is used.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Events that are kept; the next one is refused (0xc4) until the log is cleared.
pub const EVENTS_MAX: usize = 512;
/// Of them, at most so many tell of failed logins: whoever guesses passwords does not fill the log.
pub const LOGIN_EVENTS_MAX: usize = 128;
/// Sensor type "session audit" (table 42-3).
const SESSION_AUDIT: u8 = 0x2a;

/// The state, as a plain value: whoever owns the controller stores it and brings it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nvram {
    /// The event log, oldest first; each record as section 32 has it.
    pub events: Vec<[u8; 16]>,
    /// Number of the last record that was written.
    pub last_record: u16,
    /// When one was added, in seconds since 1970.
    pub last_add: u32,
    /// When one was removed.
    pub last_erase: u32,
    /// Whether an event found no room.
    pub overflow: bool,
    /// How far the controller's clock is from the host's, in seconds.
    pub clock_offset_s: i64,
    /// What the machine shall do when power returns: 0 off, 1 as before, 2 on; `None` unless told.
    pub restore_policy: Option<u8>,
    /// Whether the machine ran when it was last looked at; `None` when it never was.
    pub was_on: Option<bool>,
    /// Whether events are logged.
    pub log_events: bool,
    /// System info by parameter: the text as it was written.
    pub system_info: BTreeMap<u8, Vec<u8>>,
}

impl Default for Nvram {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            last_record: 0,
            last_add: 0,
            last_erase: 0,
            overflow: false,
            clock_offset_s: 0,
            restore_policy: None,
            was_on: None,
            log_events: true,
            system_info: BTreeMap::new(),
        }
    }
}

impl Nvram {
    /// The controller's clock, in seconds since 1970.
    #[must_use]
    pub fn clock(&self) -> u32 {
        let shown = host_clock().saturating_add(self.clock_offset_s);
        u32::try_from(shown.max(0)).unwrap_or(u32::MAX)
    }

    /// Sets the controller's clock; the host's own stays as it is.
    pub fn set_clock(&mut self, seconds: u32) {
        self.clock_offset_s = i64::from(seconds).saturating_sub(host_clock());
    }

    /// Forgets every event.
    pub fn clear(&mut self) {
        self.events = Vec::new();
        self.overflow = false;
        self.last_erase = self.clock();
    }

    /// Writes that somebody failed to log in, unless the log has enough of that.
    pub(super) fn add_failed_login(&mut self, record: [u8; 16]) {
        if self.has_room_for_failed_login() {
            self.add_event(record);
        } else {
            self.overflow = true;
        }
    }

    pub(super) fn has_room_for_failed_login(&self) -> bool {
        let failed = self.events.iter().filter(|it| it[2] == 0x02 && it[10] == SESSION_AUDIT);
        self.events.len() < EVENTS_MAX && failed.count() < LOGIN_EVENTS_MAX
    }

    /// Writes an event; its number, or `None` when there is no room.
    pub fn add_event(&mut self, mut record: [u8; 16]) -> Option<u16> {
        if self.events.len() >= EVENTS_MAX {
            self.overflow = true;
            return None;
        }
        let used = |number: u16| self.events.iter().any(|it| record_number(it) == number);
        let mut number = self.last_record;
        // Fewer records than numbers: a free one is found.
        loop {
            number = if number >= 0xfffe { 1 } else { number + 1 };
            if !used(number) {
                break;
            }
        }
        let [low, high] = number.to_le_bytes();
        (record[0], record[1]) = (low, high);
        // Records of a maker's own without time start at 0xe0 (section 32.3).
        if record[2] < 0xe0 {
            record[3..7].copy_from_slice(&self.clock().to_le_bytes());
        }
        self.last_record = number;
        self.last_add = self.clock();
        self.events.push(record);
        Some(number)
    }
}

/// Where an [`Nvram`] is while it is used. Clones share it.
#[derive(Clone)]
pub struct NvramCell {
    value: Arc<Mutex<Nvram>>,
    changes: watch::Sender<u64>,
}

impl Default for NvramCell {
    fn default() -> Self {
        Self::new(Nvram::default())
    }
}

impl fmt::Debug for NvramCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NvramCell").finish_non_exhaustive()
    }
}

impl NvramCell {
    /// With what was kept before.
    #[must_use]
    pub fn new(value: Nvram) -> Self {
        Self { value: Arc::new(Mutex::new(value)), changes: watch::Sender::new(0) }
    }

    /// The value as it is now.
    #[must_use]
    pub fn export(&self) -> Nvram {
        self.read(Nvram::clone)
    }

    /// Looks at the value.
    pub fn read<T>(&self, look: impl FnOnce(&Nvram) -> T) -> T {
        // Nothing that holds the lock can stop half-way: a poisoned value is still whole.
        look(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the value, and says so.
    pub fn change<T>(&self, change: impl FnOnce(&mut Nvram) -> T) -> T {
        let result = change(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Counts the changes: whoever stores the value waits for the next one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A record's number.
pub(crate) fn record_number(record: &[u8; 16]) -> u16 {
    u16::from_le_bytes([record[0], record[1]])
}

#[expect(clippy::disallowed_methods, reason = "the clock of a controller, which clients set")]
fn host_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_logins_do_not_fill_the_log() {
        let mut nvram = Nvram::default();
        let mut record = [0; 16];
        (record[2], record[10]) = (0x02, SESSION_AUDIT);
        for _ in 0..EVENTS_MAX {
            nvram.add_failed_login(record);
        }
        assert_eq!(nvram.events.len(), LOGIN_EVENTS_MAX);
        assert!(nvram.overflow);
        assert!(nvram.add_event([2; 16]).is_some(), "there is room for other events");
    }

    #[test]
    fn the_log_is_bounded_and_numbers_are_free_ones() {
        let mut nvram = Nvram { last_record: 0xfffd, ..Nvram::default() };
        for _ in 0..EVENTS_MAX {
            assert!(nvram.add_event([2; 16]).is_some());
        }
        assert_eq!(nvram.add_event([2; 16]), None);
        assert!(nvram.overflow);
        let mut numbers: Vec<u16> = nvram.events.iter().map(record_number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), EVENTS_MAX);
        assert!(!numbers.contains(&0) && !numbers.contains(&0xffff));
    }
}
