//! One session with each controller, kept while somebody uses it.
//!
//! ```text
//! lease ──▶ in use ──drop──▶ kept alive ──lease──▶ in use …
//!                                └── idle for too long ──▶ closed
//! ```
//! A controller has few sessions, and opening one costs it six answers and several hashes. Whoever
//! leases a client has it alone; the next one waits.

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedMutexGuard},
};

use super::{Client, ClientError, Options};
use crate::{credentials::Credentials, governor::Governor};

/// A session that nobody has used for this long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// Places that are kept before those that nobody needs are looked for.
const SEATS_MIN: usize = 1024;

/// The place of one controller's client.
#[derive(Debug, Default)]
struct Seat {
    client: Arc<tokio::sync::Mutex<Option<Client>>>,
    /// Who waits for the client, and how the one who keeps it is told.
    waiting: AtomicU32,
    wanted: Notify,
    /// How often it was given back.
    returned: AtomicU32,
}

/// Which controller, and as whom.
type Key = (SocketAddr, String);

/// The sessions with many controllers.
#[derive(Debug)]
pub struct Keeper {
    options: Options,
    idle_max: Duration,
    governor: Arc<Governor>,
    seats: Mutex<HashMap<Key, Arc<Seat>>>,
}

/// A client, for as long as this lives; its session goes on.
#[derive(Debug)]
pub struct Lease {
    guard: Option<OwnedMutexGuard<Option<Client>>>,
    client: Option<Client>,
    seat: Arc<Seat>,
    idle_max: Duration,
    runtime: Handle,
}

impl Keeper {
    /// No session yet.
    #[must_use]
    pub fn new(options: Options, governor: Arc<Governor>) -> Self {
        Self { options, idle_max: IDLE_MAX, governor, seats: Mutex::default() }
    }

    /// Closes sessions that nobody has used for this long.
    #[must_use]
    pub fn with_idle_max(mut self, idle_max: Duration) -> Self {
        self.idle_max = idle_max;
        self
    }

    fn seat(&self, key: Key) -> Arc<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= SEATS_MIN && seats.len() == seats.capacity() {
            seats.retain(|_, seat| Arc::strong_count(seat) > 1);
        }
        seats.entry(key).or_default().clone()
    }

    /// The controller's client, with the session there is, or with a new one. A session that was
    /// opened with another password is not given away for this one.
    ///
    /// # Errors
    /// [`ClientError`] of a log-in that fails.
    pub async fn lease(
        &self,
        address: SocketAddr,
        credentials: Credentials,
    ) -> Result<Lease, ClientError> {
        let seat = self.seat((address, credentials.user().to_owned()));
        seat.waiting.fetch_add(1, Ordering::SeqCst);
        seat.wanted.notify_waiters();
        let mut guard = seat.client.clone().lock_owned().await;
        seat.waiting.fetch_sub(1, Ordering::SeqCst);
        let kept = guard.take().filter(|client| client.is_for(&credentials));
        let client = match kept {
            Some(client) => client,
            None => {
                let gate = self.governor.gate(&address.ip().to_string());
                Client::connect_through(address, credentials, self.options.clone(), gate).await?
            }
        };
        let (idle_max, runtime) = (self.idle_max, Handle::current());
        Ok(Lease { guard: Some(guard), client: Some(client), seat, idle_max, runtime })
    }
}

impl Deref for Lease {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "it is there until the lease is dropped")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("invariant: a lease has a client")
    }
}

impl DerefMut for Lease {
    #[expect(clippy::expect_used, reason = "it is there until the lease is dropped")]
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("invariant: a lease has a client")
    }
}

impl Drop for Lease {
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
async fn keep(seat: Arc<Seat>, turn: u32, until: Instant) {
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
        client.close().await;
    }
}
