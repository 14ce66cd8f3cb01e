//! Carries events to [`Boots::event`] in order, from code that cannot wait (a body that is dropped,
//! a packet loop). The queue is bounded; what does not fit is logged and lost.
//!
//! Anybody on the network can cause events, and each is kept on a disk. So what is refused is told
//! once and then counted, and told again with its number once a minute; and each machine has a
//! budget, far above what a boot needs, beyond which there is only the number.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use undercloud_model::MacAddr;

use crate::{
    ANSWER_DEADLINE,
    boots::{BootEvent, BootEventKind, Boots},
    rate::Rate,
};

/// Events that may wait.
const QUEUE_MAX: usize = 1024;
/// Addresses whose machine is remembered.
const ADDRESSES_MAX: usize = 4096;
/// What goes on being refused is told once in this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Refusals that are counted apart; those of more sources are counted together.
const REFUSALS_MAX: usize = 64;
/// Events of one machine at once, and then one in each of this time. A boot has about twenty.
const BUDGET: (u32, Duration) = (240, Duration::from_secs(2));

/// Where everything that happens is told.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<BootEvent>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// TFTP knows addresses only; DHCP told them.
    owners: Mutex<HashMap<Ipv4Addr, MacAddr>>,
    counted: Mutex<Counted>,
}

/// What is counted in place of being told.
#[derive(Debug)]
struct Counted {
    budget: Rate<Option<MacAddr>>,
    seen: HashMap<Same, Seen>,
}

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Same {
    /// The same refusal to the same source, for the same machine.
    Refusal(Option<MacAddr>, Ipv4Addr, &'static str),
    /// Any refusal, when there are too many sources.
    AnyRefusal,
    /// Anything of a machine that is beyond its budget.
    TooMuch(Option<MacAddr>),
}

#[derive(Debug)]
struct Seen {
    first: BootEvent,
    told: Instant,
    since_then: u32,
}

/// The receiving half, for [`carry`].
pub(crate) struct Queue {
    events: mpsc::Receiver<BootEvent>,
    shared: Arc<Shared>,
}

impl Events {
    /// The sending half, and what [`carry`] takes.
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, events) = mpsc::channel(QUEUE_MAX);
        let budget = Rate::new(BUDGET.0, BUDGET.1, ADDRESSES_MAX);
        let counted = Mutex::new(Counted { budget, seen: HashMap::new() });
        let shared = Arc::new(Shared { owners: Mutex::default(), counted });
        (Self { queue, shared: shared.clone() }, Queue { events, shared })
    }

    /// Tells what happened with a machine.
    pub(crate) fn tell(&self, mac: Option<MacAddr>, kind: BootEventKind) {
        tracing::debug!(mac = mac.map(tracing::field::display), event = %kind, "network boot");
        let event = BootEvent { mac, kind, times: 1 };
        if let Some(event) = self.shared.counted().within_budget(event, Instant::now()) {
            self.send(event);
        }
    }

    /// Tells that `from` got nothing, and how often.
    pub(crate) fn refuse(&self, mac: Option<MacAddr>, from: Ipv4Addr, kind: BootEventKind) {
        tracing::debug!(mac = mac.map(tracing::field::display), %from, event = %kind, "refused");
        let event = BootEvent { mac, kind, times: 1 };
        if let Some(event) = self.shared.counted().new_refusal(event, from, Instant::now()) {
            self.send(event);
        }
    }

    fn send(&self, event: BootEvent) {
        if let Err(error) = self.queue.try_send(event) {
            tracing::warn!(%error, "event lost");
        }
    }

    /// Remembers whose address this is.
    pub(crate) fn learn(&self, address: Ipv4Addr, mac: MacAddr) {
        let mut owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= ADDRESSES_MAX && !owners.contains_key(&address) {
            // Whoever boots now asks for its address again.
            owners.clear();
        }
        owners.insert(address, mac);
    }

    /// Whose address this is.
    pub(crate) fn owner(&self, address: Ipv4Addr) -> Option<MacAddr> {
        let owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(&address).copied()
    }
}

impl Shared {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// The event, if its machine has not caused too many.
    fn within_budget(&mut self, event: BootEvent, now: Instant) -> Option<BootEvent> {
        if self.budget.allow(event.mac, now) {
            return Some(event);
        }
        let too_much = BootEvent { kind: BootEventKind::TooMuch, ..event };
        self.count(Same::TooMuch(too_much.mac), too_much, now)
    }

    /// The event, if it was not told lately.
    fn new_refusal(&mut self, event: BootEvent, from: Ipv4Addr, now: Instant) -> Option<BootEvent> {
        let same = Same::Refusal(event.mac, from, event.kind.reason());
        let is_known = self.seen.contains_key(&same);
        let is_room = self.seen.len() < REFUSALS_MAX;
        let same = if is_known || is_room { same } else { Same::AnyRefusal };
        self.count(same, event, now)
    }

    fn count(&mut self, same: Same, event: BootEvent, now: Instant) -> Option<BootEvent> {
        if let Some(seen) = self.seen.get_mut(&same) {
            seen.since_then = seen.since_then.saturating_add(1);
            return None;
        }
        self.seen.insert(same, Seen { first: event.clone(), told: now, since_then: 0 });
        Some(event)
    }

    /// What was counted and is due to be told; all of it `at_the_end`.
    fn due(&mut self, now: Instant, at_the_end: bool) -> Vec<BootEvent> {
        let mut due = Vec::new();
        self.seen.retain(|_, seen| {
            if !at_the_end && now.saturating_duration_since(seen.told) < AGAIN {
                return true;
            }
            if seen.since_then == 0 {
                return false;
            }
            due.push(BootEvent { times: seen.since_then, ..seen.first.clone() });
            (seen.told, seen.since_then) = (now, 0);
            true
        });
        due
    }
}

/// Hands events over until every [`Events`] is gone and `stop` is cancelled. Where the senders are
/// gone before that, whoever held them has died: that end is said, and this one, which follows from
/// it, is none.
pub(crate) async fn carry_until(stop: CancellationToken, queue: Queue, boots: Arc<dyn Boots>) {
    carry(queue, boots).await;
    stop.cancelled().await;
}

/// Hands events over, one after the other, until every [`Events`] is gone.
pub(crate) async fn carry(queue: Queue, boots: Arc<dyn Boots>) {
    let Queue { mut events, shared } = queue;
    let mut minutes = interval(AGAIN);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(event) => vec![event],
                None => break,
            },
            _ = minutes.tick() => shared.counted().due(Instant::now(), false),
        };
        for event in due {
            hand_over(&*boots, event).await;
        }
    }
    let rest = shared.counted().due(Instant::now(), true);
    for event in rest {
        hand_over(&*boots, event).await;
    }
}

async fn hand_over(boots: &dyn Boots, event: BootEvent) {
    if timeout(ANSWER_DEADLINE, boots.event(event)).await.is_err() {
        tracing::warn!("an event was not taken in time");
    }
}

#[cfg(test)]
impl Queue {
    /// The next event, as [`carry`] takes it.
    pub(crate) async fn next(&mut self) -> Option<BootEvent> {
        self.events.recv().await
    }

    pub(crate) fn try_next(&mut self) -> Option<BootEvent> {
        self.events.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    fn counted() -> Counted {
        let budget = Rate::new(BUDGET.0, BUDGET.1, ADDRESSES_MAX);
        Counted { budget, seen: HashMap::new() }
    }

    fn refused(from: Ipv4Addr) -> BootEvent {
        let kind = BootEventKind::HttpRefused { from, why: "no such path" };
        BootEvent { mac: None, kind, times: 1 }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_flood_of_refusals_is_told_once_a_minute_with_its_number() {
        let (mut counted, start) = (counted(), Instant::now());
        let told = (0..50_000).filter_map(|_| counted.new_refusal(refused(FROM), FROM, start));
        assert_eq!(told.collect::<Vec<_>>(), [refused(FROM)]);
        assert_eq!(counted.due(start + seconds(59), false), []);
        let due = counted.due(start + seconds(60), false);
        assert_eq!(due, [BootEvent { times: 49_999, ..refused(FROM) }]);
        assert_eq!(due[0].to_string(), "HTTP: refused 10.0.0.9: no such path (49999 times)");
        // Quiet for a minute: the next one is news again.
        assert_eq!(counted.due(start + seconds(120), false), []);
        assert!(counted.new_refusal(refused(FROM), FROM, start + seconds(121)).is_some());
    }

    #[test]
    fn invented_sources_do_not_grow_it_and_are_not_told_one_by_one() {
        let (mut counted, start) = (counted(), Instant::now());
        let told = (0..100_000u32)
            .map(Ipv4Addr::from)
            .filter_map(|from| counted.new_refusal(refused(from), from, start))
            .count();
        assert_eq!((told, counted.seen.len()), (REFUSALS_MAX + 1, REFUSALS_MAX + 1));
        let due = counted.due(start + seconds(60), false);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].times as usize, 100_000 - told);
        assert_eq!(counted.seen.len(), 1, "those that were quiet are forgotten");
    }

    #[test]
    fn a_machine_that_goes_in_circles_has_a_budget_and_the_others_have_theirs() {
        let (mut counted, start) = (counted(), Instant::now());
        let mac = |last| Some(MacAddr::from_bytes([0x52, 0x54, 0, 0, 0, last]));
        let event = |last| BootEvent { mac: mac(last), kind: BootEventKind::DhcpRelease, times: 1 };
        let told: Vec<_> =
            (0..10_000).filter_map(|_| counted.within_budget(event(1), start)).collect();
        assert_eq!(told.len(), BUDGET.0 as usize + 1);
        assert_eq!(told.last().unwrap().kind, BootEventKind::TooMuch);
        assert!(counted.within_budget(event(2), start).is_some());
        let due = counted.due(start + seconds(60), true);
        assert_eq!((due[0].mac, due[0].times as usize), (mac(1), 10_000 - told.len()));
        assert!(counted.within_budget(event(1), start + seconds(62)).is_some());
    }
}
