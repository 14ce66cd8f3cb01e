//! Does what follows from a domain's events.

use std::sync::Arc;

use super::{Shared, shared::Errands};

/// Runs until it is aborted. What fails is tried again when there is news of the domain: libvirt
/// that comes back is some.
pub(super) async fn run(domain: Arc<Shared>) {
    loop {
        domain.wake.notified().await;
        let done = match domain.take_errands() {
            Errands { rebooted: true, .. } => domain.reboot().await,
            Errands { read: true, .. } => domain.read().await,
            Errands { .. } => Ok(()),
        };
        if let Err(error) = done {
            let error = format!("{error}");
            tracing::warn!(
                domain = domain.name(),
                error,
                "what a domain's event asks for was not done"
            );
        }
    }
}
