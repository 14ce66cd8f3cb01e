//! The time of a simulation. Tokio's clock is paused and goes on by itself when everybody waits for
//! it; the database works in threads of its own, so while it does the clock is held. The host's
//! clock is that and what somebody set it by; the daemon's follows it as the real one's does.

use std::{
    sync::{
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::Instant};
use undercloud_store::Uses;

const BEGIN_MS: i64 = 1_700_000_000_000;

/// While it lives, the clock stands still: tokio's does so while blocking work is under way.
pub(crate) struct Hold(#[expect(dead_code, reason = "its end is what matters")] mpsc::Sender<()>);

impl Hold {
    pub(crate) fn begin() -> Self {
        let (end, ended) = mpsc::channel::<()>();
        drop(spawn_blocking(move || ended.recv()));
        Self(end)
    }
}

/// Holds the clock while anybody uses the database.
pub(crate) async fn hold_while(mut uses: watch::Receiver<Uses>) {
    let mut hold = None;
    loop {
        let is_used = uses.borrow_and_update().now > 0;
        if is_used != hold.is_some() {
            hold = is_used.then(Hold::begin);
        }
        if uses.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    host_set_by: AtomicI64,
    daemon_set_by: AtomicI64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let (host_set_by, daemon_set_by) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { began: Instant::now(), host_set_by, daemon_set_by }
    }

    /// How long it has been, whatever the clocks show.
    pub(crate) fn passed(&self) -> Duration {
        self.began.elapsed()
    }

    /// As the daemon's clock shows it.
    pub(crate) fn now(&self) -> i64 {
        let passed = i64::try_from(self.passed().as_millis()).unwrap();
        BEGIN_MS + passed + self.daemon_set_by.load(Ordering::Relaxed)
    }

    /// Somebody sets the host's clock.
    pub(crate) fn set_host(&self, by_ms: i64) {
        self.host_set_by.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// By how much the daemon's is behind.
    pub(crate) fn host_is_ahead(&self) -> i64 {
        self.host_set_by.load(Ordering::Relaxed) - self.daemon_set_by.load(Ordering::Relaxed)
    }

    pub(crate) fn follow(&self, by_ms: i64) {
        self.daemon_set_by.fetch_add(by_ms, Ordering::Relaxed);
    }
}
