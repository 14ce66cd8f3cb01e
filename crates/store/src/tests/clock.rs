//! A clock that is set ends nothing and stops nothing.

use std::sync::atomic::{AtomicI64, Ordering};

use undercloud_model::node::{FailureKind, LastError};

use super::*;
use crate::clock::{INSTANTS, Instants};

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

/// Numbers of the database that are no instants.
const COUNTS: &[(&str, &[&str])] = &[
    ("nodes", &["version", "visit", "request"]),
    ("ports", &["position"]),
    ("events", &["id", "deployment", "run", "visit", "request", "times"]),
    ("inbox", &["id"]),
    ("actions", &["position"]),
    ("boot_windows", &["id"]),
    ("orders", &["done_bytes", "total_bytes"]),
    ("container_images", &["generation"]),
    ("deployments", &["number", "attempt"]),
    ("deployment_runs", &["deployment", "attempt"]),
    ("deployment_steps", &["deployment", "attempt"]),
    ("disk_approvals", &["id"]),
    ("installations", &["number", "schema", "version"]),
];

#[tokio::test]
async fn every_number_of_the_database_is_an_instant_that_moves_or_not_or_none() {
    let Db { dir: _dir, store } = db().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT tables.name, columns.name FROM sqlite_master AS tables
             JOIN pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
             AND tables.name NOT LIKE 'sqlite%' AND columns.type <> 'TEXT'",
    )
    .fetch_all(&mut *store.read().await.unwrap())
    .await
    .unwrap();
    let mut there: Vec<(&str, &str)> =
        columns.iter().map(|(table, column)| (table.as_str(), column.as_str())).collect();
    let mut told: Vec<(&str, &str)> = Vec::new();
    for Instants { table, moving, past, .. } in INSTANTS {
        told.extend(moving.iter().chain(*past).map(|column| (*table, *column)));
    }
    for (table, columns) in COUNTS {
        told.extend(columns.iter().map(|column| (*table, *column)));
    }
    there.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, there, "clock.rs says of each whether it moves with the clock");
}

#[tokio::test]
async fn what_is_compared_with_what_moves_moves_too() {
    for by in [3 * HOUR, -3 * HOUR] {
        let Db { dir: _dir, store } = db().await;
        let (agent, before) = at_work(&store).await;
        let failed = Next::to(&before, ProvisionState::InspectFailed, NOW + 5).with(|node| {
            let (kind, text) = (FailureKind::AgentSilent, "it fell silent".into());
            node.last_error = Some(LastError { kind, text, at: NOW + 5 });
        });
        turn(&store, &before, &failed).await.unwrap();
        let name: undercloud_model::NodeName = "m0".parse().unwrap();
        let order = undercloud_model::installation::Order {
            description: String::new(),
            machines: vec![name.clone()],
            image: "overcloud-full".into(),
            ssh_keys: Vec::new(),
            until: undercloud_model::installation::Until::Installed,
        };
        let at = store.ask_for_installation(&order, NOW).await.unwrap();
        store.installation_asks(&at, (agent.node, &name), Verb::Inspect, NOW + 6).await.unwrap();
        store.clock_was_set(by, NOW + 7 + by, |_| {}).await.unwrap();
        let node = store.node(agent.node).await.unwrap();
        assert_eq!(node.state_since, NOW + 5 + by);
        assert_eq!(node.last_error.unwrap().at, NOW + 5 + by);
        let Some(Kept::Known(moved)) = store.newest_installation().await.unwrap() else { panic!() };
        assert_eq!(moved.asked[&name].at, NOW + 6 + by);
        assert_eq!((moved.since, moved.order), (NOW + by, order));
    }
}

#[tokio::test]
async fn an_order_of_this_visit_stays_though_the_clock_was_set_back() {
    let Db { dir: _dir, store } = db().await;
    let (agent, node) = at_work(&store).await;
    let key = |number| format!("{}-{number}-order", node.visit);
    let mut ids = Vec::new();
    for number in 0..5 {
        let (key, kind) = (key(number), AgentKind::Ramdisk);
        let put = store.put_order(node.id, kind, &key, &Step::Inspect, None, NOW + 2);
        ids.push(put.await.unwrap());
    }
    store.clock_was_set(-HOUR, NOW + 3 - HOUR, |_| {}).await.unwrap();
    for id in ids {
        let failure = StepFailure::new(StepFailureKind::DiskIo, "x");
        let report = Report { id, outcome: Outcome::Failed(failure), log: Vec::new() };
        store.agent_report(&agent, &report, NOW + 4 - HOUR).await.unwrap();
    }
    let keep = Keep { orders: 1, ..Keep::default() };
    assert_eq!(store.prune(&keep, "cloud/").await.unwrap().orders, 0);
    assert!(store.find_order(node.id, &key(0)).await.unwrap().is_some(), "or it is given again");
}
