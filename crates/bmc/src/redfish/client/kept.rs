//! What lets a [`crate::keeper::Keeper`] keep this client: the session lives on for a while, the
//! connection does not.
//!
//! Some controllers choke on connections that stay (sushy closes each for that reason), and what a
//! firewall in between has forgotten looks open. So one that nobody uses for [`QUIET_MAX`] is
//! closed; while somebody looks every half second, it stays, and spares the controller a handshake
//! for each look.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::{Client, ClientError};
use crate::{credentials::Credentials, keeper::Kept};

/// After this time without an answer, look whether the service is there and knows us before asking
/// for what must not be done twice.
const QUIET_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Whether it can serve who has these credentials.
    #[must_use]
    pub fn is_for(&self, credentials: &Credentials) -> bool {
        self.config.credentials.is_same(credentials) && !self.ended.load(Ordering::Relaxed)
    }

    /// Whether the service is there, and the session still is: by a look at the system, unless
    /// there was an answer just now. A session that has ended is opened again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn look(&self) -> Result<(), ClientError> {
        let heard_at = self.state.lock().await.heard_at;
        if heard_at.is_some_and(|at| at.elapsed() <= QUIET_MAX) {
            return Ok(());
        }
        self.get(&self.system).await.map(drop)
    }
}

impl Kept for Client {
    async fn keep_alive(&mut self, until: Instant) {
        sleep_until(until.min(Instant::now() + QUIET_MAX).into()).await;
        self.state.get_mut().link = None;
        sleep_until(until.into()).await;
    }

    async fn close(self) {
        self.log_out().await;
    }
}
