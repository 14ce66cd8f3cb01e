//! Answers the agents from the store.

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError,
    agent::{AgentApi, CallingAgent, Session},
    serve::Peer,
};
use undercloud_model::{
    Digest, ErrorKind, Secret,
    agent::{Hello, Poll, PollReply, Progress, Report, Welcome},
};
use undercloud_store::{AgentError, AgentKind, Principal, Store, StoreError};

use super::{
    cloud_watch::{Explainer, Ward},
    journal::{self, Journal},
};
use crate::clock;

/// How long a poll without work is held.
const POLL_HOLD: Duration = Duration::from_secs(20);

/// The store, as agents see it.
#[derive(Debug)]
pub(crate) struct Agents {
    store: Store,
    journal: Journal,
    ward: Ward,
    stop: CancellationToken,
}

impl Agents {
    /// Answers from `store`; what agents log goes to `logs`. A poll is held no longer than until
    /// `stop`.
    pub(crate) fn new(
        store: Store,
        explainer: Explainer,
        logs: PathBuf,
        stop: CancellationToken,
    ) -> Self {
        let ward = Ward::new(store.clone(), explainer);
        Self { ward, store, journal: Journal::new(logs), stop }
    }
}

/// A store's error as a caller sees it.
pub(crate) fn api_error(error: StoreError) -> ApiError {
    if error.kind() == ErrorKind::Bug {
        tracing::error!(%error, "the store failed");
    }
    let (kind, hint) = (error.kind(), error.hint());
    let refused = ApiError::new(kind, format_args!("{:#}", anyhow::Error::new(error)));
    match hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

fn principal(caller: CallingAgent) -> Principal {
    let kind = match caller.session {
        Session::Ramdisk => AgentKind::Ramdisk,
        Session::Installed => AgentKind::Installed,
    };
    Principal { node: caller.node, kind }
}

impl AgentApi for Agents {
    async fn hello(&self, hello: Hello, from: Peer) -> Result<Welcome, ApiError> {
        match self.store.agent_hello(&hello, clock::now_ms()).await {
            Ok(welcome) => Ok(welcome),
            Err(AgentError::Denied(denied)) => {
                tracing::warn!(node = %hello.node, from = ?from.address, %denied, "hello denied");
                Err(ApiError::new(ErrorKind::Denied, denied))
            }
            Err(AgentError::Store(error)) => Err(api_error(error)),
        }
    }

    async fn authenticate(&self, key: &Secret) -> Result<Option<CallingAgent>, ApiError> {
        let found = self.store.authenticate(key).await.map_err(api_error)?;
        Ok(found.map(|principal| {
            let session = match principal.kind {
                AgentKind::Ramdisk => Session::Ramdisk,
                AgentKind::Installed => Session::Installed,
            };
            CallingAgent { node: principal.node, session }
        }))
    }

    async fn poll(&self, caller: CallingAgent, poll: Poll) -> Result<PollReply, ApiError> {
        let (caller, now) = (principal(caller), clock::now_ms());
        if let (AgentKind::Installed, Some(health)) = (caller.kind, &poll.health)
            && let Err(error) = self.ward.heard(caller.node, health, now).await
        {
            // The heartbeat is taken all the same.
            tracing::error!(node = %caller.node, %error, "how a machine is was not written down");
        }
        let polled = self.store.agent_poll(&caller, &poll, POLL_HOLD, now);
        // What is held for nothing holds the end of the daemon for nothing.
        match self.stop.run_until_cancelled(polled).await {
            Some(polled) => polled.map_err(api_error),
            None => Ok(PollReply { order: None }),
        }
    }

    async fn not_understood(&self, caller: CallingAgent, theirs: u32) {
        if caller.session == Session::Installed
            && let Err(error) = self.ward.not_understood(caller.node, theirs, clock::now_ms()).await
        {
            tracing::error!(node = %caller.node, theirs, %error, "an agent is of another version");
        }
    }

    async fn progress(&self, caller: CallingAgent, progress: Progress) -> Result<(), ApiError> {
        let caller = principal(caller);
        let written = self.store.agent_progress(&caller, &progress, clock::now_ms());
        written.await.map_err(api_error)
    }

    async fn report(&self, caller: CallingAgent, report: Report) -> Result<(), ApiError> {
        let now = clock::now_ms();
        self.store.agent_report(&principal(caller), &report, now).await.map_err(api_error)?;
        let node = self.store.node(caller.node).await.map_err(api_error)?;
        let log = match caller.session {
            Session::Ramdisk => journal::RAMDISK,
            Session::Installed => journal::INSTALLED,
        };
        self.journal.append(log, node.name.as_str(), now, &report.log);
        Ok(())
    }

    async fn may_fetch(&self, caller: CallingAgent, blob: Digest) -> Result<bool, ApiError> {
        self.store.may_fetch(&principal(caller), &blob).await.map_err(api_error)
    }
}

#[cfg(test)]
mod tests {
    use undercloud_model::NodeId;
    use undercloud_store::Open;

    use super::*;

    #[tokio::test]
    async fn a_poll_that_is_held_for_nothing_is_answered_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap();
        let store = Store::open(path.join("db"), Open::at(1)).await.unwrap();
        let stop = CancellationToken::new();
        let agents = Agents::new(store, Explainer::default(), folder.path().into(), stop.clone());
        let caller = CallingAgent {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            session: Session::Ramdisk,
        };
        let poll = Poll {
            protocol: 1,
            boot_id: "b".into(),
            busy: vec![],
            ssh_host_key: None,
            health: None,
        };
        let mut held = std::pin::pin!(agents.poll(caller, poll));
        let soon = tokio::time::timeout(Duration::from_millis(200), held.as_mut()).await;
        assert!(soon.is_err(), "there is nothing to do: {soon:?}");
        stop.cancel();
        let reply = tokio::time::timeout(POLL_HOLD / 2, held).await.unwrap().unwrap();
        assert!(reply.order.is_none());
    }
}
