//! The one place that reads the wall clock. Everything else is told what time it is.

use std::time::UNIX_EPOCH;

use undercloud_model::UnixMillis;

/// Now, in milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now_ms() -> UnixMillis {
    let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since_epoch.as_millis()).unwrap_or(UnixMillis::MAX)
}

/// `at_ms` as people and logs read it: `2026-11-23T09:30:00Z`.
pub(crate) fn rfc3339(at_ms: UnixMillis) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}
