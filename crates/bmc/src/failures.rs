//! Who guesses passwords, and how often one address may: for every protocol.

use std::{collections::HashMap, net::IpAddr, time::Duration};

pub use undercloud_serve::culprit;

/// Wrong passwords from one address before it has to wait.
pub const FAILURES_BURST: u32 = 10;
/// After that, one more guess per this time.
pub const FAILURE_COST: Duration = Duration::from_secs(3);
/// Addresses remembered for their failures.
const SOURCES_MAX: usize = 1024;

/// A leaking bucket per address: failures fill it, time empties it.
#[derive(Debug, Default)]
pub struct Failures {
    /// When the bucket will be empty.
    empty_at: HashMap<IpAddr, Duration>,
}

impl Failures {
    /// One more wrong password.
    pub fn add(&mut self, source: IpAddr, now: Duration) {
        self.empty_at.retain(|_, empty_at| *empty_at > now);
        if self.empty_at.len() >= SOURCES_MAX {
            // The least guilty goes.
            let least = self.empty_at.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip);
            if let Some(least) = least {
                self.empty_at.remove(&least);
            }
        }
        let empty_at = self.empty_at.entry(culprit(source)).or_insert(now);
        *empty_at = (*empty_at).max(now) + FAILURE_COST;
    }

    /// Whether this address has to wait.
    #[must_use]
    pub fn must_wait(&self, source: IpAddr, now: Duration) -> bool {
        self.empty_at
            .get(&culprit(source))
            .is_some_and(|empty_at| *empty_at > now + FAILURE_COST * (FAILURES_BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_guesses_then_one_per_three_seconds() {
        let mut failures = Failures::default();
        let (bad, good): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let now = Duration::from_secs(1000);
        for guess in 0..FAILURES_BURST {
            assert!(!failures.must_wait(bad, now), "guess {guess}");
            failures.add(bad, now);
        }
        assert!(failures.must_wait(bad, now));
        assert!(!failures.must_wait(good, now));
        let later = now + FAILURE_COST;
        assert!(!failures.must_wait(bad, later));
        failures.add(bad, later);
        assert!(failures.must_wait(bad, later));
        assert!(!failures.must_wait(bad, now + Duration::from_secs(3600)));
    }

    #[test]
    fn one_host_is_a_whole_prefix() {
        let a: IpAddr = "2001:db8::1".parse().expect("address");
        let b: IpAddr = "2001:db8::ffff:1".parse().expect("address");
        let c: IpAddr = "2001:db8:0:1::1".parse().expect("address");
        assert_eq!(culprit(a), culprit(b));
        assert_ne!(culprit(a), culprit(c));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("address");
        assert_eq!(culprit(mapped), IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut failures = Failures::default();
        for address in 0..5000u32 {
            failures.add(IpAddr::V4(address.into()), Duration::ZERO);
        }
        assert!(failures.empty_at.len() <= SOURCES_MAX);
    }
}
