//! What bounds a listener, and the slots that keep it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What bounds a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_source_max: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests.
    pub head: Duration,
    /// For a peer that acknowledges nothing (TCP user timeout).
    pub unacknowledged: Duration,
    /// For the connections to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            connections_per_source_max: 32,
            handshake: Duration::from_secs(20),
            head: Duration::from_secs(60),
            unacknowledged: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Counts connections.
#[derive(Debug)]
pub(super) struct Slots {
    connections_max: usize,
    per_source_max: usize,
    taken: Arc<Mutex<Taken>>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    source: Option<IpAddr>,
    taken: Arc<Mutex<Taken>>,
}

impl Slots {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connections_max: limits.connections_max,
            per_source_max: limits.connections_per_source_max,
            taken: Arc::default(),
        }
    }

    /// A place for a connection from there, if there is one.
    pub(super) fn take(&self, source: Option<IpAddr>) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = source.map_or(0, |ip| taken.by_source.get(&ip).copied().unwrap_or(0));
        if taken.all >= self.connections_max || of_source >= self.per_source_max {
            return None;
        }
        taken.all += 1;
        if let Some(ip) = source {
            taken.by_source.insert(ip, of_source + 1);
        }
        Some(Slot { source, taken: self.taken.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        let Some(ip) = self.source else { return };
        match taken.by_source.get_mut(&ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.by_source.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_gives_it_back() {
        let limits =
            Limits { connections_max: 3, connections_per_source_max: 2, ..Limits::default() };
        let slots = Slots::new(&limits);
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert!(slots.take(a).is_none(), "its share is used up");
        let _third = slots.take(b).unwrap();
        assert!(slots.take(b).is_none(), "all are used up");
        drop(first);
        assert!(slots.take(b).is_some());
        assert_eq!(slots.taken.lock().unwrap().by_source.len(), 2);
    }
}
