//! How much a controller has to bear: polling has brought real ones down.
//!
//! Each controller has a [`Gate`], whatever protocol it is asked by: so many questions at once, a
//! steady pace after a burst, and never more than a few that it has not answered yet. [`Bucket`]
//! decides, without a clock of its own; the gate waits.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

/// Gates that are kept before those that nobody needs are looked for.
const GATES_MIN: usize = 1024;

/// Questions to one controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Questions that may come at once.
    pub burst: u32,
    /// After those, one per this time.
    pub interval: Duration,
}

impl Budget {
    /// For whoever asks a few questions and goes.
    pub const UNLIMITED: Self = Self { burst: u32::MAX, interval: Duration::ZERO };
}

impl Default for Budget {
    fn default() -> Self {
        Self { burst: 20, interval: Duration::from_millis(200) }
    }
}

/// Questions that are not answered yet.
pub const IN_FLIGHT_MAX: u32 = 2;

/// What became of a question that wants to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes.
    Go,
    /// Not before this time.
    At(Duration),
    /// Not before an answer has come.
    Full,
}

/// The budget of one controller, as a value.
#[derive(Debug, Clone)]
pub struct Bucket {
    budget: Budget,
    in_flight_max: u32,
    in_flight: u32,
    /// When all of the budget will be there again.
    full_at: Duration,
}

impl Bucket {
    /// Full.
    #[must_use]
    pub fn new(budget: Budget, in_flight_max: u32) -> Self {
        let in_flight_max = in_flight_max.max(1);
        Self { budget, in_flight_max, in_flight: 0, full_at: Duration::ZERO }
    }

    /// Asks for a turn; after [`Turn::Go`] there has to be a [`Bucket::leave`].
    pub fn enter(&mut self, now: Duration) -> Turn {
        if self.in_flight >= self.in_flight_max {
            return Turn::Full;
        }
        let saved = self.budget.interval * self.budget.burst.saturating_sub(1);
        let turn = self.full_at.saturating_sub(saved);
        if turn > now {
            return Turn::At(turn);
        }
        self.full_at = self.full_at.max(now) + self.budget.interval;
        self.in_flight += 1;
        Turn::Go
    }

    /// The answer has come, or nobody waits for it any more.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether it is as good as new.
    #[must_use]
    pub fn is_full(&self, now: Duration) -> bool {
        self.in_flight == 0 && self.full_at <= now
    }
}

/// Lets the questions to one controller through, in the order in which they came.
#[derive(Debug)]
pub struct Gate {
    epoch: Instant,
    bucket: Mutex<Bucket>,
    left: Notify,
    queue: tokio::sync::Mutex<()>,
}

/// A question that is under way; dropped when it is answered.
#[derive(Debug)]
pub struct Permit<'a>(&'a Gate);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.bucket().leave();
        self.0.left.notify_one();
    }
}

impl Gate {
    /// Of one controller that nobody else asks.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            epoch: Instant::now(),
            bucket: Mutex::new(Bucket::new(budget, IN_FLIGHT_MAX)),
            left: Notify::new(),
            queue: tokio::sync::Mutex::new(()),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Giving up loses nothing.
    pub async fn turn(&self) -> Permit<'_> {
        let _queue = self.queue.lock().await;
        loop {
            let now = self.epoch.elapsed();
            let turn = self.bucket().enter(now);
            match turn {
                Turn::Go => return Permit(self),
                Turn::At(at) => sleep(at.saturating_sub(now)).await,
                Turn::Full => self.left.notified().await,
            }
        }
    }
}

/// The gates of many controllers.
#[derive(Debug, Default)]
pub struct Governor {
    budget: Budget,
    is_loopback_free: bool,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Governor {
    /// The same budget for each.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Without a bound for what listens on this host's loopback: many virtual controllers share
    /// such an address, and are programs that questions do not bring down.
    #[must_use]
    pub fn with_free_loopback(mut self) -> Self {
        self.is_loopback_free = true;
        self
    }

    /// The gate of a controller, by its name or address without a port: its protocols share it.
    #[must_use]
    pub fn gate(&self, host: &str) -> Arc<Gate> {
        let is_loopback = || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.is_loopback_free && is_loopback() {
            return Arc::new(Gate::new(Budget::UNLIMITED));
        }
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(host) {
            return gate.clone();
        }
        if gates.len() >= GATES_MIN && gates.len() == gates.capacity() {
            // One that is full and in nobody's hands is as good as a new one.
            gates.retain(|_, gate| {
                let now = gate.epoch.elapsed();
                Arc::strong_count(gate) > 1 || !gate.bucket().is_full(now)
            });
        }
        let gate = Arc::new(Gate::new(self.budget));
        gates.insert(host.to_owned(), gate.clone());
        gate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn after_a_burst_there_is_a_pace() {
        let mut bucket = Bucket::new(Budget { burst: 3, interval: SECOND }, 100);
        let now = seconds(10);
        assert_eq!([(); 3].map(|()| bucket.enter(now)), [Turn::Go; 3]);
        assert_eq!(bucket.enter(now), Turn::At(seconds(11)));
        assert_eq!(bucket.enter(now), Turn::At(seconds(11)), "asking costs nothing");
        assert_eq!(bucket.enter(seconds(11)), Turn::Go);
        assert_eq!(bucket.enter(seconds(11)), Turn::At(seconds(12)));
        assert_eq!([(); 3].map(|()| bucket.enter(seconds(100))), [Turn::Go; 3]);
    }

    #[test]
    fn no_more_under_way_than_it_can_bear() {
        let mut bucket = Bucket::new(Budget::default(), 2);
        let now = seconds(1);
        assert_eq!([(); 3].map(|()| bucket.enter(now)), [Turn::Go, Turn::Go, Turn::Full]);
        bucket.leave();
        assert_eq!([(); 2].map(|()| bucket.enter(now)), [Turn::Go, Turn::Full]);
    }

    proptest! {
        /// Whoever asks how often, by a clock that only this test moves.
        #[test]
        fn the_budget_is_kept(
            burst in 1u32..10,
            interval_ms in 1u64..1000,
            in_flight_max in 1u32..5,
            steps in proptest::collection::vec((0u64..500, any::<bool>()), 1..400),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut bucket = Bucket::new(Budget { burst, interval }, in_flight_max);
            let (mut now, mut under_way, mut gone) = (Duration::ZERO, 0, Vec::new());
            for (pause, leaves) in steps {
                now += Duration::from_millis(pause);
                if leaves && under_way > 0 {
                    bucket.leave();
                    under_way -= 1;
                }
                match bucket.enter(now) {
                    Turn::Go => {
                        under_way += 1;
                        gone.push(now);
                    }
                    Turn::At(at) => prop_assert!(at > now && at <= now + interval),
                    Turn::Full => prop_assert_eq!(under_way, in_flight_max),
                }
                prop_assert!(under_way <= in_flight_max);
            }
            // In any span of time: the burst, and one for each interval.
            for (place, start) in gone.iter().enumerate() {
                for (more, end) in gone.iter().enumerate().skip(place) {
                    let allowed = u128::from(burst) + (*end - *start).as_micros() / interval.as_micros();
                    prop_assert!(u128::try_from(more - place).expect("few") < allowed);
                }
            }
        }
    }

    #[tokio::test]
    async fn both_protocols_share_a_gate_and_two_controllers_do_not() {
        let governor = Governor::new(Budget { burst: 100, interval: SECOND });
        let (first, again) = (governor.gate("192.0.2.1"), governor.gate("192.0.2.1"));
        let other = governor.gate("192.0.2.2");
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        let held = [first.turn().await, first.turn().await];
        let _elsewhere = other.turn().await;
        let third = tokio::spawn(async move { drop(again.turn().await) });
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "two are under way");
        drop(held);
        third.await.expect("its turn comes");
    }

    #[tokio::test]
    async fn programs_on_this_host_are_asked_as_often_as_one_likes() {
        let governor = Governor::new(Budget { burst: 1, interval: SECOND * 3600 });
        let bounded = governor.gate("127.0.0.1");
        drop(bounded.turn().await);
        let bounded = tokio::spawn(async move { drop(bounded.turn().await) });
        let governor = governor.with_free_loopback();
        for host in ["127.0.0.1", "127.0.0.9", "::1"] {
            for _ in 0..100 {
                drop(governor.gate(host).turn().await);
            }
        }
        assert!(Arc::ptr_eq(&governor.gate("192.0.2.1"), &governor.gate("192.0.2.1")));
        assert!(!bounded.is_finished(), "an hour is not over");
        bounded.abort();
    }

    #[test]
    fn gates_that_nobody_needs_are_forgotten() {
        let governor = Governor::default();
        let kept = governor.gate("kept");
        for number in 0..100_000 {
            let _ = governor.gate(&format!("{number}"));
        }
        let gates = governor.gates.lock().expect("lock");
        // A map that had to forget grows once more before it is swept again.
        assert!(gates.len() <= 4 * GATES_MIN, "{}", gates.len());
        assert!(gates.get("kept").is_some_and(|gate| Arc::ptr_eq(gate, &kept)));
    }
}
