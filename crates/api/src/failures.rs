//! Counts refused credentials per source, and says when a source must wait.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use undercloud_model::UnixMillis;

use crate::ApiError;
use undercloud_model::ErrorKind;

/// Sources that are remembered. When more fail within a window, the oldest is forgotten.
const SOURCES_MAX: usize = 1024;

/// At most `max` failures of a source in `window_ms`.
#[derive(Debug)]
pub(crate) struct Failures {
    max: u32,
    window_ms: i64,
    seen: Mutex<HashMap<Option<IpAddr>, (UnixMillis, u32)>>,
}

impl Failures {
    pub(crate) fn new(max: u32, window_ms: i64) -> Self {
        Self { max, window_ms, seen: Mutex::default() }
    }

    /// Whether `source` may try again. A unix socket has no source: `None` is one of its own.
    pub(crate) fn check(&self, source: Option<IpAddr>, now: UnixMillis) -> Result<(), ApiError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&source) {
            Some((since, count)) if *count >= self.max && now - since < self.window_ms => {
                Err(ApiError::new(ErrorKind::Busy, "too many refused attempts from this address")
                    .hint(format!("wait {} s", (self.window_ms - (now - since)) / 1000 + 1)))
            }
            _ => Ok(()),
        }
    }

    /// Notes a failure of `source`.
    pub(crate) fn note(&self, source: Option<IpAddr>, now: UnixMillis) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SOURCES_MAX && !seen.contains_key(&source) {
            let oldest = seen.iter().min_by_key(|(_, (since, _))| *since).map(|(k, _)| *k);
            oldest.map(|k| seen.remove(&k));
        }
        let entry = seen.entry(source).or_insert((now, 0));
        if now - entry.0 >= self.window_ms {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_waits_out_its_window_and_others_do_not() {
        let failures = Failures::new(2, 1000);
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        failures.note(a, 0);
        assert!(failures.check(a, 1).is_ok());
        failures.note(a, 10);
        assert!(failures.check(a, 999).is_err());
        assert!(failures.check(b, 999).is_ok());
        assert!(failures.check(a, 1000).is_ok());
        failures.note(a, 1000);
        assert!(failures.check(a, 1001).is_ok(), "a new window starts at nought");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::new(1, 1000);
        for i in 0..5000u32 {
            failures.note(Some(IpAddr::from(i.to_be_bytes())), i64::from(i));
        }
        assert_eq!(failures.seen.lock().unwrap().len(), SOURCES_MAX);
    }
}
