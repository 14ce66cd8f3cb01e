//! The one place that reads the clocks. Everything else is told what time it is.
//!
//! Time here goes on evenly: from the time of day at the first call it is counted by the clock that
//! nobody can set (`CLOCK_MONOTONIC`). When the host's time of day is set, that shows as a
//! difference ([`set_by`]), and whoever moved what waits for a time has this clock follow
//! ([`follow`]).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use undercloud_model::UnixMillis;

static CLOCK: OnceLock<Clock> = OnceLock::new();

struct Clock {
    began: Instant,
    began_at: AtomicI64,
}

impl Clock {
    fn new(began: Instant, time_of_day: UnixMillis) -> Self {
        Self { began, began_at: AtomicI64::new(time_of_day) }
    }

    fn at(&self, instant: Instant) -> UnixMillis {
        let ms = instant.saturating_duration_since(self.began).as_millis();
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.began_at.load(Ordering::Relaxed).saturating_add(ms)
    }

    fn set_by(&self, instant: Instant, time_of_day: UnixMillis) -> i64 {
        time_of_day.saturating_sub(self.at(instant))
    }

    fn follow(&self, by_ms: i64) {
        self.began_at.fetch_add(by_ms, Ordering::Relaxed);
    }
}

fn clock() -> &'static Clock {
    CLOCK.get_or_init(|| Clock::new(Instant::now(), time_of_day_ms()))
}

/// The host's time of day, since the epoch: for those who are told the time. All else goes by
/// [`now_ms`].
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn time_of_day() -> Duration {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn time_of_day_ms() -> UnixMillis {
    UnixMillis::try_from(time_of_day().as_millis()).unwrap_or(UnixMillis::MAX)
}

/// Now, in milliseconds since the epoch.
pub(crate) fn now_ms() -> UnixMillis {
    clock().at(Instant::now())
}

/// By how much the host's time of day was set since this clock began, or followed.
pub(crate) fn set_by() -> i64 {
    clock().set_by(Instant::now(), time_of_day_ms())
}

/// Follows the host's time of day by that much.
pub(crate) fn follow(by_ms: i64) {
    clock().follow(by_ms);
}

/// `at_ms` as people and logs read it: `2026-11-23T09:30:00Z`.
pub(crate) fn rfc3339(at_ms: UnixMillis) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_that_is_set_shows_as_a_difference_and_time_goes_on_evenly() {
        let began = Instant::now();
        let clock = Clock::new(began, 1_000_000);
        let later = began + Duration::from_secs(5);
        assert_eq!(clock.at(later), 1_005_000);
        for by in [3 * 3_600_000, -3 * 3_600_000] {
            let shown = clock.at(later) + by;
            assert_eq!(clock.set_by(later, shown), by);
            clock.follow(by);
            assert_eq!((clock.at(later), clock.set_by(later, shown)), (shown, 0));
        }
    }
}
