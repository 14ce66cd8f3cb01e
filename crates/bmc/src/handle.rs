//! What keeps a server running, whichever protocol it speaks.

use std::{future::Future, net::SocketAddr};

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use undercloud_serve::Ended;

/// Keeps a server running; it ends when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
    ended: Ended,
}

impl ServerHandle {
    /// Runs a server that ends when `cancel` is cancelled.
    pub(crate) fn run(
        runtime: &Handle,
        address: SocketAddr,
        cancel: CancellationToken,
        server: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (ended, server) = Ended::of(server);
        Self { address, cancel, task: runtime.spawn(server), ended }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancelling this ends the server, too.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends, which it does not by itself; also when it panics.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.wait()
    }

    /// Ends the server and waits for what is under way, for a few seconds.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, address = %self.address, "a server ended badly");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
