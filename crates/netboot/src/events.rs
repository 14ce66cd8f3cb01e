//! Carries events to [`Boots::event`] in order, from code that cannot wait (a body that is dropped,
//! a packet loop). The queue is bounded; what does not fit is logged and lost.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::mpsc, time::timeout};
use undercloud_model::MacAddr;

use crate::{
    ANSWER_DEADLINE,
    boots::{BootEvent, BootEventKind, Boots},
};

/// Events that may wait.
const QUEUE_MAX: usize = 1024;
/// Addresses whose machine is remembered.
const ADDRESSES_MAX: usize = 4096;

/// Where everything that happens is told.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<BootEvent>,
    /// TFTP knows addresses only; DHCP told them.
    owners: Arc<Mutex<HashMap<Ipv4Addr, MacAddr>>>,
}

impl Events {
    /// The sending half, and what [`carry`] takes.
    pub(crate) fn new() -> (Self, mpsc::Receiver<BootEvent>) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { queue, owners: Arc::default() }, receiver)
    }

    /// Tells what happened with a machine.
    pub(crate) fn tell(&self, mac: Option<MacAddr>, kind: BootEventKind) {
        tracing::debug!(mac = mac.map(tracing::field::display), event = %kind, "network boot");
        if let Err(error) = self.queue.try_send(BootEvent { mac, kind }) {
            tracing::warn!(%error, "event lost");
        }
    }

    /// Remembers whose address this is.
    pub(crate) fn learn(&self, address: Ipv4Addr, mac: MacAddr) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() < ADDRESSES_MAX || owners.contains_key(&address) {
            owners.insert(address, mac);
        }
    }

    /// Whose address this is.
    pub(crate) fn owner(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

/// Hands events over, one after the other, until every [`Events`] is gone.
pub(crate) async fn carry(mut events: mpsc::Receiver<BootEvent>, boots: Arc<dyn Boots>) {
    while let Some(event) = events.recv().await {
        if timeout(ANSWER_DEADLINE, boots.event(event)).await.is_err() {
            tracing::warn!("an event was not taken in time");
        }
    }
}
