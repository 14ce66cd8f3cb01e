//! HTTP: the agent's API, the administrator's API, OpenStack subsets, a container registry, and the
//! one client of the administrator's API.
//!
//! Wire types live here and leak nowhere. Handlers parse, ask and convert; what they ask is one
//! small trait per resource (`NodesApi`, `ImagesApi`, …) that the binary implements over the store, so
//! that this crate never calls the engine: intent is written, and the engine sees that the store
//! changed. Nothing here reads the clock: a [`Clock`] is handed in.

use std::{fmt, sync::Arc};

use undercloud_model::UnixMillis;

pub mod admin;
pub mod agent;
mod body;
pub mod client;
pub mod clouds;
mod download;
mod error;
mod escape;
mod failures;
pub mod openstack;
pub mod registry;
pub mod serve;
pub mod tls;

pub use error::{ApiError, ErrorBody};

/// Tells the time. The binary hands in its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixMillis + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> UnixMillis {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
