//! Who is due, and who gives the turn.

use sqlx::Row as _;
use undercloud_model::{
    NodeId, PowerState,
    node::{Action, Step},
};

use super::*;

const MINUTE: i64 = 60_000;

fn lease(owner: &str, now: i64) -> TurnLease {
    TurnLease { owner: owner.into(), until: now + MINUTE }
}

/// Those whose BMC was heard and those whose was not; these tests' never was.
async fn taken(
    store: &Store,
    lease: &TurnLease,
    busy: &[NodeId],
    limit: usize,
    now: i64,
) -> Vec<NodeId> {
    let heard = store.take_due(lease, (Whose::Heard, busy), limit, now).await.unwrap();
    assert!(heard.is_empty());
    store.take_due(lease, (Whose::Unheard, busy), limit, now).await.unwrap()
}

async fn due(store: &Store, now: i64) -> Vec<NodeId> {
    taken(store, &lease("we", now), &[], 100, now).await
}

/// The turn of a node that has something to do at `due_at` and nothing before.
async fn quiet(store: &Store, node: NodeId, due_at: Option<i64>) -> Node {
    let node = store.node(node).await.unwrap();
    let next = Next::to(&node, ProvisionState::Manageable, NOW);
    let commit = TurnCommit {
        node: &node,
        next: Some(&next),
        taken: None,
        done: None,
        power: None,
        due_at,
        events: Vec::new(),
    };
    store.commit(commit, NOW).await.unwrap()
}

#[tokio::test]
async fn a_request_makes_a_node_due_and_the_longest_waiting_is_first() {
    let Db { dir: _dir, store } = db().await;
    let mut ids = Vec::new();
    for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
        ids.push(store.enrol_node(new(name, &[number]), NOW).await.unwrap().id);
    }
    assert!(due(&store, NOW).await.is_empty(), "a node that nobody asked anything has no turn");
    assert_eq!(store.next_due(Whose::Unheard, &[]).await.unwrap(), None);
    for (name, at) in [("b", 10), ("c", 20), ("a", 30)] {
        store.request(name, Verb::Manage, NOW + at).await.unwrap();
    }
    assert_eq!(store.next_due(Whose::Unheard, &[]).await.unwrap(), Some(NOW + 10));
    assert_eq!(due(&store, NOW + 25).await, [ids[1], ids[2]]);
    assert_eq!(due(&store, NOW + 30).await, [ids[1], ids[2], ids[0]]);
    let some = taken(&store, &lease("we", NOW), &[ids[1]], 1, NOW + 30).await;
    assert_eq!(some, [ids[2]]);
    assert_eq!(store.next_due(Whose::Unheard, &[ids[1]]).await.unwrap(), Some(NOW + 20));
}

#[tokio::test]
async fn those_whose_bmc_told_its_power_are_apart_from_those_that_are_silent() {
    let Db { dir: _dir, store } = db().await;
    let mut ids = Vec::new();
    for (number, name) in [(1, "heard"), (2, "silent")] {
        ids.push(store.enrol_node(new(name, &[number]), NOW).await.unwrap().id);
    }
    let node = store.node(ids[0]).await.unwrap();
    let next = Next::to(&node, ProvisionState::Manageable, NOW);
    let commit = TurnCommit {
        node: &node,
        next: Some(&next),
        taken: None,
        done: None,
        power: Some(Some(PowerState::Off)),
        due_at: Some(NOW),
        events: Vec::new(),
    };
    store.commit(commit, NOW).await.unwrap();
    quiet(&store, ids[1], Some(NOW)).await;
    for (whose, id) in [(Whose::Heard, ids[0]), (Whose::Unheard, ids[1])] {
        let lease = lease("we", NOW);
        assert_eq!(store.take_due(&lease, (whose, &[]), 9, NOW).await.unwrap(), [id]);
        assert_eq!(store.next_due(whose, &[]).await.unwrap(), Some(NOW));
        assert_eq!(store.next_due(whose, &[id]).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_turn_says_when_the_next_is_due_unless_something_waits() {
    let Db { dir: _dir, store } = db().await;
    let id = store.enrol_node(new("a", &[1]), NOW).await.unwrap().id;
    quiet(&store, id, Some(NOW + 500)).await;
    assert!(due(&store, NOW + 499).await.is_empty());
    assert_eq!(due(&store, NOW + 500).await, [id]);
    let node = quiet(&store, id, Some(NOW + 500)).await;
    // An action that is to be done is due at once, whatever the turn said.
    let next = Next::to(&node, ProvisionState::Verifying, NOW)
        .target(ProvisionState::Manageable)
        .phase(Phase::ReadPower, NOW + 1000)
        .act(Action::ReadPower);
    assert!(matches!(next.clone().go(), Step::Go(_)));
    let node = turn(&store, &node, &next).await.unwrap();
    assert_eq!(due(&store, NOW).await, [id]);
    let node = store.node(node.id).await.unwrap();
    assert!(!store.reschedule(&node, Some(NOW + 900)).await.unwrap(), "it waits");
    assert_eq!(due(&store, NOW).await, [id]);
}

#[tokio::test]
async fn a_turn_that_had_nothing_to_do_puts_the_next_off_unless_somebody_wrote() {
    let Db { dir: _dir, store } = db().await;
    let id = store.enrol_node(new("a", &[1]), NOW).await.unwrap().id;
    let node = quiet(&store, id, Some(NOW)).await;
    assert!(store.reschedule(&node, Some(NOW + 100)).await.unwrap());
    assert_eq!(store.next_due(Whose::Unheard, &[]).await.unwrap(), Some(NOW + 100));
    let maintenance = Some(Maintenance { reason: None });
    store.set_maintenance("a", maintenance, NOW).await.unwrap();
    assert!(!store.reschedule(&node, Some(NOW + 200)).await.unwrap());
    assert_eq!(due(&store, NOW).await, [id]);
}

#[tokio::test]
async fn who_lost_his_lease_cannot_write_any_more() {
    let Db { dir: _dir, store } = db().await;
    let id = store.enrol_node(new("a", &[1]), NOW).await.unwrap().id;
    store.request("a", Verb::Manage, NOW).await.unwrap();
    let take = async |owner: &str, now| taken(&store, &lease(owner, now), &[], 9, now).await;
    assert_eq!(take("one", NOW).await, [id]);
    let situation = store.situation(id).await.unwrap().unwrap();
    assert!(take("other", NOW + MINUTE - 1).await.is_empty());
    assert_eq!(take("one", NOW + 1).await, [id], "it is his own");
    let writes = store.writes();
    assert_eq!(take("one", NOW + 2).await, [id]);
    assert_eq!(store.writes(), writes, "a lease that holds costs no write");
    store.renew_leases(&lease("one", NOW + MINUTE), &[id]).await.unwrap();
    assert!(take("other", NOW + MINUTE + 1).await.is_empty());
    assert_eq!(take("other", NOW + 2 * MINUTE).await, [id]);
    let next = Next::to(&situation.node, ProvisionState::Manageable, NOW);
    let late = turn(&store, &situation.node, &next).await;
    assert!(matches!(late, Err(StoreError::Stale(_))));
    // His process is known to be gone.
    store.end_leases().await.unwrap();
    assert_eq!(take("third", NOW + 2 * MINUTE).await, [id]);
}

/// What is walked over for one answer, ten thousand times for as many nodes, is what takes minutes.
#[tokio::test]
async fn who_is_due_is_found_without_a_walk_over_who_else_is() {
    let Db { dir: _dir, store } = db().await;
    for query in [crate::due::DUE, crate::due::NEXT] {
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
        let plan = plan.fetch_all(&mut *store.read().await.unwrap()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let by = |step: &String| step.contains("INDEX nodes_by_due (<expr>=? AND due_at");
        assert!(plan.iter().any(by), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("ORDER BY")), "sorted: {plan:#?}");
    }
}

#[tokio::test]
async fn nodes_of_an_earlier_version_are_all_due_once() {
    let dir = tempfile::tempdir().unwrap();
    {
        let pool = crate::db::of_earlier_version(&file(&dir), 5).await;
        sqlx::query(
            "INSERT INTO nodes (id, name, version, visit, state, state_since, phase, record,
                 bmc_password, created_at, updated_at)
             VALUES ('00000000-0000-4000-8000-000000000001', 'a', 1, 1, 'active', 1,
                 '{\"phase\":\"idle\"}', '{}', 'x', 1, 1)",
        )
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
    }
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    assert_eq!(due(&store, NOW).await.len(), 1);
    assert_eq!(store.watched().await.unwrap().len(), 1);
}
