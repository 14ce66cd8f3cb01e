//! How often something may happen for each of many keys, in bounded memory.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// A token bucket per key. When every slot is taken by a key that is still spending, new keys are
/// refused: a flood of invented keys gets no further than a flood of one.
#[derive(Debug)]
pub(crate) struct Rate<K> {
    burst: u32,
    refill_every: Duration,
    keys_max: usize,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    since: Instant,
}

impl<K: Eq + Hash> Rate<K> {
    /// `burst` at once, then one in each `refill_every`, for at most `keys_max` keys at a time.
    pub(crate) fn new(burst: u32, refill_every: Duration, keys_max: usize) -> Self {
        Self { burst, refill_every, keys_max, buckets: HashMap::new() }
    }

    /// Whether it may happen now; if so, it is counted.
    pub(crate) fn allow(&mut self, key: K, now: Instant) -> bool {
        let (burst, every) = (self.burst, self.refill_every);
        if self.buckets.len() >= self.keys_max && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| {
                bucket.refill(burst, every, now);
                bucket.tokens < burst
            });
            if self.buckets.len() >= self.keys_max {
                return false;
            }
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: burst, since: now });
        bucket.refill(burst, every, now);
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }
}

impl Bucket {
    fn refill(&mut self, burst: u32, every: Duration, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_nanos();
        let new = u32::try_from(elapsed / every.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(new).min(burst);
        if self.tokens == burst {
            self.since = now;
        } else {
            self.since += every * new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_in_each_interval() {
        let mut rate = Rate::new(2, Duration::from_secs(10), 8);
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(rate.allow(1, at(0)) && rate.allow(1, at(1)) && !rate.allow(1, at(2)));
        assert!(rate.allow(2, at(2)), "keys do not share");
        assert!(rate.allow(1, at(11)) && !rate.allow(1, at(12)));
        assert!(rate.allow(1, at(99)) && rate.allow(1, at(99)) && !rate.allow(1, at(99)));
    }

    #[test]
    fn invented_keys_do_not_grow_it() {
        let mut rate = Rate::new(1, Duration::from_secs(60), 4);
        let start = Instant::now();
        let allowed = (0..1000).filter(|key| rate.allow(*key, start)).count();
        assert_eq!((allowed, rate.buckets.len()), (4, 4));
        assert!(rate.allow(1000, start + Duration::from_secs(60)), "slots come free again");
    }
}
