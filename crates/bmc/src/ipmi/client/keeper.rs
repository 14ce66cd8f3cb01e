//! One IPMI session with each controller, kept while somebody uses it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Client, ClientError, Options};
use crate::{
    credentials::Credentials,
    governor::Governor,
    keeper::{self, Kept},
};

/// A client, for as long as this lives; its session goes on.
pub type Lease = keeper::Lease<Client>;

/// Which controller, and as whom.
type Key = (SocketAddr, String);

/// The sessions with many controllers.
#[derive(Debug)]
pub struct Keeper {
    options: Options,
    governor: Arc<Governor>,
    sessions: keeper::Keeper<Key, Client>,
}

impl Kept for Client {
    async fn keep_alive(&mut self, until: Instant) {
        Self::keep_alive(self, until).await;
    }

    async fn close(self) {
        Self::close(self).await;
    }
}

impl Keeper {
    /// No session yet.
    #[must_use]
    pub fn new(options: Options, governor: Arc<Governor>) -> Self {
        Self { options, governor, sessions: keeper::Keeper::default() }
    }

    /// Closes sessions that nobody has used for this long.
    #[must_use]
    pub fn with_idle_max(mut self, idle_max: Duration) -> Self {
        self.sessions = keeper::Keeper::new(idle_max);
        self
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
        let gate = self.governor.gate(&address.ip().to_string());
        let (key, options) = ((address, credentials.user().to_owned()), self.options.clone());
        let open = Box::pin(Client::connect_through(address, credentials.clone(), options, gate));
        self.sessions.lease(key, |client| client.is_for(&credentials), open).await
    }

    /// Ends every session.
    pub async fn close(&self) {
        self.sessions.close().await;
    }
}
