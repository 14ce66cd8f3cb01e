//! A clock that is set ends nothing and stops nothing.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

const HOUR: i64 = 3_600_000;

/// A ramdisk that works, in a window that is open.
async fn at_work(store: &Store) -> (Principal, Node) {
    let agent = ramdisk(store).await;
    let node = store.node(agent.node).await.unwrap();
    let step = undercloud_model::StepId::from_uuid(uuid::Uuid::from_u128(1));
    let next = Next::to(&node, ProvisionState::InspectWait, NOW)
        .target(ProvisionState::Manageable)
        .phase(Phase::Ordered { work: undercloud_model::node::Work::Inspect, step }, NOW + 600_000);
    (agent, turn(store, &node, &next).await.unwrap())
}

#[tokio::test]
async fn what_is_waited_for_moves_with_the_clock() {
    for by in [3 * HOUR, -3 * HOUR] {
        let Db { dir: _dir, store } = db().await;
        let (agent, before) = at_work(&store).await;
        store.agent_poll(&agent, &poll(), Duration::ZERO, NOW + 1).await.unwrap();
        let shown = AtomicI64::new(NOW + 2);
        let follow = |by| {
            shown.fetch_add(by, Ordering::SeqCst);
        };
        store.clock_was_set(by, NOW + 2 + by, follow).await.unwrap();
        assert_eq!(shown.load(Ordering::SeqCst), NOW + 2 + by);
        let after = store.situation(agent.node).await.unwrap().unwrap();
        assert_eq!(after.node.deadline, Some(NOW + 600_000 + by));
        assert_eq!(after.ramdisk_seen_at, Some(NOW + 1 + by));
        assert_eq!(after.boot_opened_at, Some(NOW + by));
        assert_eq!(store.opened_at(), NOW + by);
        // Whoever read the clock before decides again.
        let next = Next::to(&before, ProvisionState::InspectFailed, NOW);
        assert!(matches!(turn(&store, &before, &next).await, Err(StoreError::Stale(_))));
        let events = store.events_since(Scope::All, 0, 100).await.unwrap();
        let way = if by > 0 { "forward" } else { "back" };
        let said = format!("this host's clock was set {way} by 3 h 0 min 0 s");
        let said: Vec<_> = events.iter().filter(|e| e.text.starts_with(&said)).collect();
        assert_eq!((said.len(), said[0].severity), (1, Severity::Warning), "it is said once");
    }
}

#[tokio::test]
async fn what_cannot_be_written_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    store.close().await;
    let halt = Some(Halt::Before(1));
    let store = Store::open(file(&dir), Open { halt, ..Open::at(NOW) }).await.unwrap();
    let shown = AtomicI64::new(NOW);
    let follow = |by| {
        shown.fetch_add(by, Ordering::SeqCst);
    };
    store.clock_was_set(HOUR, NOW + HOUR, follow).await.unwrap_err();
    assert_eq!((shown.load(Ordering::SeqCst), store.opened_at()), (NOW, NOW));
}

#[tokio::test]
async fn a_clock_that_went_back_while_the_daemon_was_away_is_followed() {
    let Db { dir, store } = db().await;
    let (agent, _) = at_work(&store).await;
    store.close().await;
    let store = Store::open(file(&dir), Open::at(NOW - 3 * HOUR)).await.unwrap();
    let deadline = store.node(agent.node).await.unwrap().deadline;
    assert_eq!(deadline, Some(NOW - 3 * HOUR + 600_000), "not in three hours and ten minutes");
    store.close().await;
    // Once is enough; and a clock that went on as usual moves nothing.
    for later in [1000, 2 * HOUR] {
        let store = Store::open(file(&dir), Open::at(NOW - 3 * HOUR + later)).await.unwrap();
        assert_eq!(store.node(agent.node).await.unwrap().deadline, deadline);
        store.close().await;
    }
}
