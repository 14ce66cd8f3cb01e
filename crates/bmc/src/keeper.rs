//! One session with each controller, kept while somebody uses it, whatever its protocol.
//!
//! ```text
//! lease ──▶ in use ──drop──▶ kept alive ──lease──▶ in use …
//!                                └── idle for too long, or the end of it all ──▶ closed
//! ```
//! A controller has few sessions, and opening one costs it several answers and hashes. Whoever
//! leases a client has it alone; the next one waits.

use std::{
    collections::HashMap,
    hash::Hash,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedMutexGuard},
    task::JoinSet,
    time::timeout,
};

/// A session that nobody has used for this long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// For a controller to take note of a session's end.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Places that are kept before those that nobody needs are looked for.
const SEATS_MIN: usize = 1024;

/// A client whose session is worth keeping.
pub trait Kept: Send + 'static {
    /// Does what the session needs to live until then, from whenever nobody asks anything. It may
    /// be given up at any time.
    fn keep_alive(&mut self, until: Instant) -> impl Future<Output = ()> + Send;

    /// Ends the session, and tells the controller.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The place of one controller's client.
#[derive(Debug)]
struct Seat<C> {
    client: Arc<tokio::sync::Mutex<Option<C>>>,
    /// Who waits for the client, and how the one who keeps it is told.
    waiting: AtomicU32,
    wanted: Notify,
    /// How often it was given back.
    returned: AtomicU32,
}

impl<C> Default for Seat<C> {
    fn default() -> Self {
        let (waiting, returned) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { client: Arc::default(), waiting, wanted: Notify::new(), returned }
    }
}

impl<C> Seat<C> {
    /// Takes the client away from who keeps it, or waits for who uses it.
    async fn take(&self) -> OwnedMutexGuard<Option<C>> {
        let waits = Waits::new(self);
        self.wanted.notify_waiters();
        let guard = self.client.clone().lock_owned().await;
        drop(waits);
        guard
    }
}

/// Somebody who waits, and may give up.
struct Waits<'a, C>(&'a Seat<C>);

impl<'a, C> Waits<'a, C> {
    fn new(seat: &'a Seat<C>) -> Self {
        seat.waiting.fetch_add(1, Ordering::SeqCst);
        Self(seat)
    }
}

impl<C> Drop for Waits<'_, C> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The sessions with many controllers; `K` says with which, and as whom.
#[derive(Debug)]
pub struct Keeper<K, C> {
    idle_max: Duration,
    seats: Mutex<HashMap<K, Arc<Seat<C>>>>,
}

/// A client, for as long as this lives; its session goes on.
#[derive(Debug)]
pub struct Lease<C: Kept> {
    guard: Option<OwnedMutexGuard<Option<C>>>,
    client: Option<C>,
    seat: Arc<Seat<C>>,
    idle_max: Duration,
    runtime: Handle,
}

impl<K: Eq + Hash, C: Kept> Default for Keeper<K, C> {
    fn default() -> Self {
        Self::new(IDLE_MAX)
    }
}

impl<K: Eq + Hash, C: Kept> Keeper<K, C> {
    /// No session yet; each is closed when nobody has used it for this long.
    #[must_use]
    pub fn new(idle_max: Duration) -> Self {
        Self { idle_max, seats: Mutex::default() }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<K, Arc<Seat<C>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, key: K) -> Arc<Seat<C>> {
        let mut seats = self.seats();
        if seats.len() >= SEATS_MIN && seats.len() == seats.capacity() {
            seats.retain(|_, seat| Arc::strong_count(seat) > 1);
        }
        seats.entry(key).or_default().clone()
    }

    /// The controller's client, if there is one that `is_good`, or what `open` gives.
    ///
    /// # Errors
    /// Those of `open`.
    pub async fn lease<E>(
        &self,
        key: K,
        is_good: impl Fn(&C) -> bool + Send,
        open: impl Future<Output = Result<C, E>> + Send,
    ) -> Result<Lease<C>, E> {
        let seat = self.seat(key);
        let mut guard = seat.take().await;
        let client = match guard.take() {
            Some(client) if is_good(&client) => client,
            other => {
                if let Some(bad) = other {
                    close(bad).await;
                }
                open.await?
            }
        };
        let (idle_max, runtime) = (self.idle_max, Handle::current());
        Ok(Lease { guard: Some(guard), client: Some(client), seat, idle_max, runtime })
    }

    /// Ends every session, those in use as soon as they are given back.
    pub async fn close(&self) {
        let mut closing = JoinSet::new();
        for (_, seat) in self.seats().drain() {
            closing.spawn(async move {
                let client = seat.take().await.take();
                if let Some(client) = client {
                    close(client).await;
                }
            });
        }
        closing.join_all().await;
    }
}

async fn close<C: Kept>(client: C) {
    if timeout(CLOSE_MAX, client.close()).await.is_err() {
        tracing::debug!("a session's end was not taken note of; it will time out");
    }
}

impl<C: Kept> Deref for Lease<C> {
    type Target = C;

    #[expect(clippy::expect_used, reason = "it is there until the lease is dropped")]
    fn deref(&self) -> &C {
        self.client.as_ref().expect("invariant: a lease has a client")
    }
}

impl<C: Kept> DerefMut for Lease<C> {
    #[expect(clippy::expect_used, reason = "it is there until the lease is dropped")]
    fn deref_mut(&mut self) -> &mut C {
        self.client.as_mut().expect("invariant: a lease has a client")
    }
}

impl<C: Kept> Drop for Lease<C> {
    fn drop(&mut self) {
        if let (Some(mut guard), Some(client)) = (self.guard.take(), self.client.take()) {
            *guard = Some(client);
        }
        let (seat, until) = (self.seat.clone(), Instant::now() + self.idle_max);
        let turn = seat.returned.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.runtime.spawn(keep(seat, turn, until));
    }
}

/// Keeps the session of a seat alive until somebody wants it, or until nobody has for too long.
async fn keep<C: Kept>(seat: Arc<Seat<C>>, turn: u32, until: Instant) {
    let mut guard = seat.client.clone().lock_owned().await;
    let Some(client) = guard.as_mut() else { return };
    let mut wanted = std::pin::pin!(seat.wanted.notified());
    wanted.as_mut().enable();
    // Who came before this line is counted, who comes after it is heard. And who was here since
    // keeps it longer.
    let later = seat.returned.load(Ordering::SeqCst) != turn;
    if later || seat.waiting.load(Ordering::SeqCst) > 0 {
        return;
    }
    let kept = async { client.keep_alive(until).await };
    tokio::select! {
        biased;
        () = wanted => return,
        () = kept => {}
    }
    if let Some(client) = guard.take() {
        close(client).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::{sync::watch, time::sleep_until};

    use super::*;

    /// What happened to the clients of a test.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    struct Counts {
        opened: u32,
        closed: u32,
    }

    #[derive(Debug)]
    struct Fake {
        password: &'static str,
        counts: watch::Sender<Counts>,
    }

    impl Kept for Fake {
        async fn keep_alive(&mut self, until: Instant) {
            sleep_until(until.into()).await;
        }

        async fn close(self) {
            self.counts.send_modify(|counts| counts.closed += 1);
        }
    }

    struct World {
        keeper: Keeper<u32, Fake>,
        counts: watch::Sender<Counts>,
    }

    impl World {
        fn new(idle_max: Duration) -> Self {
            Self { keeper: Keeper::new(idle_max), counts: watch::Sender::default() }
        }

        async fn lease(&self, key: u32, password: &'static str) -> Lease<Fake> {
            let open = async {
                self.counts.send_modify(|counts| counts.opened += 1);
                Ok::<_, Infallible>(Fake { password, counts: self.counts.clone() })
            };
            let is_good = |fake: &Fake| fake.password == password;
            self.keeper.lease(key, is_good, open).await.expect("infallible")
        }

        fn counts(&self) -> (u32, u32) {
            let Counts { opened, closed } = *self.counts.borrow();
            (opened, closed)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn one_session_serves_whoever_comes_next() {
        let world = World::new(LONG);
        for _ in 0..100 {
            drop(world.lease(1, "a").await);
        }
        let _other = world.lease(2, "a").await;
        assert_eq!(world.counts(), (2, 0));
        let (first, second) = (world.lease(1, "a").await, world.lease(1, "a"));
        let mut second = std::pin::pin!(second);
        tokio::select! {
            biased;
            _ = &mut second => panic!("the first has it"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        second.await;
        assert_eq!(world.counts(), (2, 0));
    }

    #[tokio::test]
    async fn what_is_not_good_any_more_is_closed_before_another_is_opened() {
        let world = World::new(LONG);
        drop(world.lease(1, "a").await);
        drop(world.lease(1, "b").await);
        assert_eq!(world.counts(), (2, 1));
    }

    #[tokio::test]
    async fn what_nobody_uses_is_closed() {
        let world = World::new(Duration::from_millis(5));
        let mut counts = world.counts.subscribe();
        drop(world.lease(1, "a").await);
        let closed = timeout(LONG, counts.wait_for(|counts| counts.closed == 1)).await;
        closed.expect("in time").expect("there");
    }

    #[tokio::test]
    async fn in_the_end_all_are_closed_those_in_use_too() {
        let world = World::new(LONG);
        for key in 0..10 {
            drop(world.lease(key, "a").await);
        }
        let used = world.lease(10, "a").await;
        let mut counts = world.counts.subscribe();
        let end = world.keeper.close();
        let give_back = async {
            counts.wait_for(|counts| counts.closed == 10).await.expect("there");
            drop(used);
        };
        timeout(LONG, async { tokio::join!(end, give_back) }).await.expect("it ends");
        assert_eq!(world.counts(), (11, 11));
    }
}
