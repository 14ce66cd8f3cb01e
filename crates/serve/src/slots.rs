//! Places for connections: so many in all, and so many from one source.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In all; the next one waits.
    pub all: usize,
    /// From one source; one more is closed.
    pub per_source: usize,
}

/// Whose share a connection counts in: an IPv6 host owns its whole /64.
#[must_use]
pub fn culprit(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four @ IpAddr::V4(_) => four,
    }
}

/// Counts connections.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Semaphore>,
    per_source: usize,
    by_source: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that is free, for whoever comes next.
#[derive(Debug)]
pub struct Free {
    _permit: OwnedSemaphorePermit,
}

/// A connection's place, given back when it is dropped.
///
/// That takes the lock of the counts: make none under it.
#[derive(Debug)]
pub struct Slot {
    source: Option<IpAddr>,
    by_source: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _free: Free,
}

impl Slots {
    /// All are free.
    #[must_use]
    pub fn new(share: Share) -> Self {
        let all = Arc::new(Semaphore::new(share.all.min(Semaphore::MAX_PERMITS)));
        Self { all, per_source: share.per_source, by_source: Arc::default() }
    }

    /// Waits for a place; `None` never comes, since the places are not closed.
    pub async fn free(&self) -> Option<Free> {
        self.all.clone().acquire_owned().await.ok().map(|permit| Free { _permit: permit })
    }

    /// Gives the place to a connection from there, unless that source has its share. What has no
    /// address (a unix socket) has all.
    #[must_use]
    pub fn take(&self, free: Free, source: Option<IpAddr>) -> Option<Slot> {
        let source = source.map(culprit);
        if !source.is_none_or(|source| self.count(source)) {
            return None;
        }
        Some(Slot { source, by_source: self.by_source.clone(), _free: free })
    }

    /// Whether there is one more in that source's share; it is counted then.
    fn count(&self, source: IpAddr) -> bool {
        let mut counts = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&source).copied().unwrap_or(0);
        if count >= self.per_source {
            return false;
        }
        counts.insert(source, count + 1);
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut counts = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_has_its_share_and_gives_it_back() {
        let slots = Slots::new(Share { all: 3, per_source: 2 });
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let first = slots.take(slots.free().await.unwrap(), a).unwrap();
        let _second = slots.take(slots.free().await.unwrap(), a).unwrap();
        assert!(slots.take(slots.free().await.unwrap(), a).is_none(), "its share is used up");
        let _third = slots.take(slots.free().await.unwrap(), b).unwrap();
        assert_eq!(slots.all.available_permits(), 0, "all are used up");
        drop(first);
        assert!(slots.take(slots.free().await.unwrap(), b).is_some());
        assert_eq!(slots.by_source.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_ipv6_host_has_one_share_for_all_its_addresses() {
        let slots = Slots::new(Share { all: 9, per_source: 1 });
        let source = |text: &str| Some(text.parse().unwrap());
        let _one = slots.take(slots.free().await.unwrap(), source("fd00::1")).unwrap();
        assert!(slots.take(slots.free().await.unwrap(), source("fd00::2")).is_none());
        assert!(slots.take(slots.free().await.unwrap(), source("fd00:0:0:1::1")).is_some());
        let _four = slots.take(slots.free().await.unwrap(), source("10.0.0.1")).unwrap();
        assert!(slots.take(slots.free().await.unwrap(), source("::ffff:10.0.0.1")).is_none());
        for _ in 0..3 {
            assert!(
                slots.take(slots.free().await.unwrap(), None).is_some(),
                "no address: no share"
            );
        }
    }
}
