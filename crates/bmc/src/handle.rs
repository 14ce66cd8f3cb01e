//! What keeps a server running, whichever protocol it speaks.

use std::net::SocketAddr;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Keeps a server running; it ends when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Of a task that ends when `cancel` is cancelled.
    pub(crate) fn new(
        address: SocketAddr,
        cancel: CancellationToken,
        task: JoinHandle<()>,
    ) -> Self {
        Self { address, cancel, task }
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
