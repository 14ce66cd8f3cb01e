//! What is over goes; what is of now stays, however much of it there is.

use sqlx::Connection as _;
use undercloud_model::{Digest, StepId};

use super::*;

/// Little is kept, so that little has to be written.
const LITTLE: Keep = Keep {
    busy_events: 5,
    other_events: 7,
    orders: 2,
    boot_windows: 2,
    machine_keys: 1,
    deployments: 3,
    deployments_with_steps: 2,
    runs: 2,
    runs_with_steps: 1,
};

async fn prune(db: &Db, keep: &Keep) -> Pruned {
    db.store.prune(keep, "cloud/").await.unwrap()
}

async fn count(db: &Db, query: &'static str) -> i64 {
    let path = format!("sqlite://{}", file(&db.dir));
    let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

async fn run(db: &Db, statement: &'static str) {
    let path = format!("sqlite://{}", file(&db.dir));
    let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn of_events_the_newest_of_each_class_stay() {
    let db = db().await;
    let record = async |kind, text: String| {
        let event = match kind {
            EventKind::Netboot => seen(&text),
            _ => RecordNews::MaintenanceBegan { reason: Some(text) }.into(),
        };
        db.store.record(None, &event, NOW).await.unwrap();
    };
    for number in 0..20 {
        record(EventKind::Netboot, format!("boot {number}")).await;
        record(EventKind::Node, format!("{number}")).await;
    }
    let newest = db.store.last_event().await.unwrap();
    let pruned = prune(&db, &LITTLE).await;
    assert_eq!(pruned.events, 15 + 13);
    let left = db.store.events_since(Scope::All, 0, 100).await.unwrap();
    let of =
        |kind| left.iter().filter(|e| e.kind == kind).map(|e| e.text.as_str()).collect::<Vec<_>>();
    assert_eq!(of(EventKind::Netboot), ["boot 15", "boot 16", "boot 17", "boot 18", "boot 19"]);
    assert_eq!((of(EventKind::Node).len(), of(EventKind::Node)[0]), (7, "maintenance began: 13"));
    assert_eq!(db.store.last_event().await.unwrap(), newest, "who follows has lost nothing");
    assert_eq!(prune(&db, &LITTLE).await, Pruned::default(), "again is nothing");
    // Numbers are not used twice: a cursor stays good.
    run(&db, "DELETE FROM events").await;
    record(EventKind::Node, "next".into()).await;
    assert!(db.store.last_event().await.unwrap() > newest);
}

#[tokio::test]
async fn a_million_refusals_leave_a_small_database() {
    let db = db().await;
    run(
        &db,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
         INSERT INTO events (at_ms, kind, severity, text)
         SELECT 1700000000000, 'netboot', 'warning', hex(randomblob(400)) FROM n",
    )
    .await;
    let before = db.store.bytes();
    assert!(before > 200 << 20, "{before}");
    let keep = Keep { busy_events: 1000, ..Keep::default() };
    assert_eq!(prune(&db, &keep).await.events, 299_000);
    assert!(db.store.shrink().await.unwrap(), "there is much to give back");
    assert!(!db.store.shrink().await.unwrap(), "now there is not");
    let after = db.store.bytes();
    assert!(after < 16 << 20, "{after} of {before}");
    assert_eq!(count(&db, "SELECT count(*) FROM events").await, 1000);
}

#[tokio::test]
async fn orders_that_can_be_given_again_stay() {
    let db = db().await;
    let node = db.store.enrol_node(new("m0", &[1]), NOW).await.unwrap();
    let put = async |agent, key: String, at| -> StepId {
        db.store.put_order(node.id, agent, &key, &Step::Inspect, None, at).await.unwrap()
    };
    let ended = async |agent, id| {
        let report = Report {
            id,
            outcome: Outcome::Failed(StepFailure {
                kind: StepFailureKind::DiskIo,
                message: "x".into(),
                said: Vec::new(),
            }),
            log: vec![],
        };
        let principal = Principal { node: node.id, kind: agent };
        db.store.agent_report(&principal, &report, NOW).await.unwrap();
    };
    let digest = Digest::from_bytes([1; 32]);
    db.store.begin_deployment(&serde_json::json!({}), &digest, "cloud/", NOW).await.unwrap();
    run(&db, "UPDATE nodes SET visit = 10").await;
    // Of visits that are over, of this visit, of a run that is over, of this run; and one that
    // nobody has reported.
    let since = node.state_since;
    for number in 0..5 {
        let id = put(AgentKind::Ramdisk, format!("9-{number}-order"), since - 100).await;
        ended(AgentKind::Ramdisk, id).await;
    }
    for number in 0..5 {
        let id = put(AgentKind::Ramdisk, format!("10-{number}-order"), since).await;
        ended(AgentKind::Ramdisk, id).await;
        let id = put(AgentKind::Installed, format!("cloud/1/0/{number}"), since - 50).await;
        ended(AgentKind::Installed, id).await;
        let id = put(AgentKind::Installed, format!("cloud/1/1/{number}"), since).await;
        ended(AgentKind::Installed, id).await;
    }
    let open = put(AgentKind::Ramdisk, "8-0-order".into(), since - 1000).await;
    let pruned = prune(&db, &LITTLE).await;
    assert_eq!(pruned.orders, 10, "those of what is over");
    let left = "SELECT count(*) FROM orders WHERE key LIKE '10-%' OR key LIKE 'cloud/1/1/%'";
    assert_eq!(count(&db, left).await, 10);
    assert!(db.store.order(open).await.unwrap().is_some(), "it is still to be done");
}

#[tokio::test]
async fn closed_windows_and_revoked_keys_go_and_open_ones_stay() {
    let db = db().await;
    let node = db.store.enrol_node(new("m0", &[1]), NOW).await.unwrap();
    let other = db.store.enrol_node(new("m1", &[2]), NOW).await.unwrap();
    for (node, count) in [(&node, 5), (&other, 1)] {
        for number in 0..count {
            let mut write = db.store.write().await.unwrap();
            boots::close_windows(write.sql(), node.id, NOW).await.unwrap();
            boots::open_window(write.sql(), node.id, NOW + 1000, NOW + number).await.unwrap();
            write.commit("test").await.unwrap();
            let key = fresh_secret().unwrap();
            let order = format!("key/{number}");
            let kind = AgentKind::Ramdisk;
            let put = db.store.put_order(node.id, kind, &order, &Step::Inspect, Some(&key), NOW);
            put.await.unwrap();
        }
    }
    run(&db, "UPDATE machine_keys SET revoked_at = 1 WHERE node IN (SELECT id FROM nodes WHERE name = 'm0')").await;
    let pruned = prune(&db, &LITTLE).await;
    assert_eq!((pruned.boot_windows, pruned.machine_keys), (3, 4));
    assert_eq!(count(&db, "SELECT count(*) FROM boot_windows WHERE closed_at IS NULL").await, 2);
    assert_eq!(count(&db, "SELECT count(*) FROM machine_keys WHERE revoked_at IS NULL").await, 1);
    let mac = MacAddr::from_bytes([0x52, 0x54, 0, 0, 0, 1]);
    assert!(db.store.boot_target(mac, NOW).await.unwrap().is_some(), "it boots");
}

#[tokio::test]
async fn old_deployments_lose_their_steps_and_then_themselves() {
    let db = db().await;
    let outcome = Outcome::Failed(StepFailure {
        kind: StepFailureKind::DiskIo,
        message: "x".into(),
        said: Vec::new(),
    });
    let name = "controller-0".parse().unwrap();
    let node = db.store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap().id;
    let step = |deployment, attempt| {
        let run = Run { deployment, attempt };
        StepOf { run, node, machine: &name, key: "a", title: "Do a" }
    };
    for number in 1..=6u8 {
        let digest = Digest::from_bytes([number; 32]);
        let plan = serde_json::json!({ "number": number });
        let begun = db.store.begin_deployment(&plan, &digest, "cloud/", NOW).await.unwrap();
        db.store.record_step(&step(begun.number, 1), &outcome, NOW).await.unwrap();
        db.store.end_deployment(begun.number, None, NOW).await.unwrap();
    }
    let again = Digest::from_bytes([6; 32]);
    let plan = serde_json::json!({ "number": 6 });
    db.store.begin_deployment(&plan, &again, "cloud/", NOW).await.unwrap();
    db.store.record_step(&step(6, 2), &outcome, NOW).await.unwrap();
    let pruned = prune(&db, &LITTLE).await;
    assert_eq!((pruned.steps, pruned.deployments), (4 + 1, 3));
    let left = db.store.deployments::<serde_json::Value>().await.unwrap();
    assert_eq!(left.iter().map(|row| row.number).collect::<Vec<_>>(), [6, 5, 4]);
    let steps = db.store.deployment_steps(6).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.attempt).collect::<Vec<_>>(), [2]);
    assert_eq!(db.store.deployment_steps(5).await.unwrap().len(), 1);
}
