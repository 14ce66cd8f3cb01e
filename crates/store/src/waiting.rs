//! Agents that wait for an order. Each is woken by an order for its own node: were all woken by every
//! write, a thousand agents that wait would be a thousand reads for each write of anybody.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use undercloud_model::NodeId;

/// Who waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<NodeId, watch::Sender<()>>>);

impl Waiting {
    /// An agent of `node` begins to wait.
    pub(crate) fn begin(&self, node: NodeId) -> Wait<'_> {
        let orders = self.all().entry(node).or_default().subscribe();
        Wait { waiting: self, node, orders: Some(orders) }
    }

    /// There is an order for an agent of this node.
    pub(crate) fn wake(&self, node: NodeId) {
        if let Some(agents) = self.all().get(&node) {
            agents.send_replace(());
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<NodeId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    waiting: &'a Waiting,
    node: NodeId,
    orders: Option<watch::Receiver<()>>,
}

impl Wait<'_> {
    /// Until there was an order since the last call, or since it began to wait.
    pub(crate) async fn order(&mut self) {
        if let Some(orders) = &mut self.orders {
            // The sender is there for as long as somebody waits.
            let _ = orders.changed().await;
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut all = self.waiting.all();
        self.orders = None;
        if all.get(&self.node).is_some_and(|agents| agents.receiver_count() == 0) {
            all.remove(&self.node);
        }
    }
}
