//! Runs the life cycle of machines.
//!
//! ```text
//!              store's changes, clock
//!                         │
//!   dispatcher ── who is due? ──▶ turn of one node (at most one at a time for each, bounded; looks
//!                                   │  at power have slots of their own)
//!                                   │  situation ─▶ next event: result of its pending action,
//!                                   │               or its inbox, or the clock, or a power poll
//!                                   │  model::node::step ─▶ decision
//!                                   └─ store.commit: state, history, pending actions, at once
//! ```
//! The engine is killed at any line and started again: a pending action is done again, and every
//! action done twice is the same as done once (see [`mod@perform`]). Everything that decides is in
//! `model::node`; everything that is kept is in `store`; here are only the hands.

mod bmc;
mod dispatch;
mod drive;
pub mod driver;
mod limits;
mod looks;
mod perform;
mod turn;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use undercloud_image::blob::Blobs;
use undercloud_model::{UnixMillis, node::Policy};
use undercloud_store::{Store, StoreError};

pub use bmc::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};
pub use drive::{config_drive, installed_identity};
pub use limits::Limits;

/// For all BMCs together to take note of their sessions' end.
const SESSIONS_END_MAX: Duration = Duration::from_secs(10);

/// The time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What the engine needs.
#[derive(Clone)]
pub struct EngineDeps {
    /// Where everything is kept.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// How BMCs are reached.
    pub bmc: Arc<dyn BmcFactory>,
    /// Where the images are, to see that one is there before a disk is written.
    pub blobs: Blobs,
    /// Where BMCs fetch deploy CDs: `http://127.0.0.1:6322/media`.
    pub media: String,
    /// What installed systems are told about us.
    pub agents: AgentEndpoint,
    /// How long things may take.
    pub policy: Policy,
    /// How much is done at once.
    pub limits: Limits,
}

impl fmt::Debug for EngineDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, clock: _, bmc: _, blobs, media, agents, policy, limits } = self;
        f.debug_struct("EngineDeps")
            .field("store", store)
            .field("blobs", blobs)
            .field("media", media)
            .field("agents", agents)
            .field("policy", policy)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Where agents call.
#[derive(Debug, Clone)]
pub struct AgentEndpoint {
    /// Base URL of their listener: `https://192.168.24.1:8443`.
    pub api: String,
    /// Our CA, PEM.
    pub ca_pem: String,
}

/// The engine.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Starts it. It runs until the handle is stopped or dropped, or the store is gone for good.
    pub fn start(deps: EngineDeps) -> EngineHandle {
        let wake = Arc::new(Notify::new());
        let cancel = CancellationToken::new();
        let bmc = deps.bmc.clone();
        let task = tokio::spawn(dispatch::run(deps, wake.clone(), cancel.clone()));
        EngineHandle { wake, cancel, task, bmc }
    }
}

/// A running engine. Dropped, it stops at once, as if it were killed.
pub struct EngineHandle {
    wake: Arc<Notify>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), StoreError>>,
    bmc: Arc<dyn BmcFactory>,
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle").field("task", &self.task).finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Makes it look now. Writes of the store are seen without.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether it has ended by itself, which it only does when the store is gone.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops it, and ends its sessions with BMCs. What it was doing is done again by the next.
    ///
    /// # Errors
    /// Why it had ended before.
    ///
    /// # Panics
    /// If a turn panicked: such a fault ends the process.
    pub async fn stop(mut self) -> Result<(), StoreError> {
        self.cancel.cancel();
        let ended = (&mut self.task).await;
        if timeout(SESSIONS_END_MAX, self.bmc.close()).await.is_err() {
            tracing::warn!("sessions with BMCs are left behind; they time out");
        }
        match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    /// Waits until it ends by itself; for a `select!` of the daemon.
    ///
    /// # Errors
    /// Why it ended.
    ///
    /// # Panics
    /// If a turn panicked.
    pub async fn ended(&mut self) -> Result<(), StoreError> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
