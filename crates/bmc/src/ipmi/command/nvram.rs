//! What a controller keeps over a reset: its event log, its clock, what it was told to remember.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// Events that are kept; the next one is refused (0xc4) until the log is cleared.
pub const EVENTS_MAX: usize = 512;

/// The state, as a plain value: whoever owns the controller stores it and brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A record's number.
pub(super) fn record_number(record: &[u8; 16]) -> u16 {
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
