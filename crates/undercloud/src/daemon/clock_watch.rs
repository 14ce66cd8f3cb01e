//! Watches whether the host's clock is set, and moves what waits for a time with it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use undercloud_store::Store;

use crate::clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Less is nothing that anybody waits for.
const SET_BY_MIN_MS: i64 = 2_000;

/// Runs until it is told to end.
pub(super) async fn watch(store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let by_ms = clock::set_by();
        if by_ms.abs() < SET_BY_MIN_MS {
            continue;
        }
        let now = clock::now_ms().saturating_add(by_ms);
        match store.clock_was_set(by_ms, now, clock::follow).await {
            Ok(()) => tracing::warn!(by_ms, "this host's clock was set"),
            // Nothing has moved: it is found again.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(by_ms, error, "cannot follow this host's clock");
            }
        }
    }
}
