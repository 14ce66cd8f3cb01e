//! On real SQLite files, one for each test.

use std::time::Duration;

use camino::Utf8PathBuf;
use tempfile::TempDir;
use undercloud_model::{
    Caller, MacAddr, NodeId, RootDeviceHints, Secret,
    agent::{
        Outcome, PROTOCOL_VERSION, Poll, Progress, Report, Step, StepFailure, StepFailureKind,
    },
    consent::WipeScope,
    inventory::Inventory,
    node::{Effect, Event, Maintenance, NewNode, Next, Node, Phase, ProvisionState, RawNode, Verb},
    timeline::{Netboot, RecordNews},
};

use super::*;

mod ailments;
mod clock;
mod consent;
mod due;
mod installations;
mod retention;
mod timeline_of_all;

const NOW: i64 = 1_700_000_000_000;

struct Db {
    dir: TempDir,
    store: Store,
}

fn file(dir: &TempDir) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(dir.path().join("undercloud.sqlite")).unwrap()
}

async fn db() -> Db {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    let range = ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: "192.168.24.10".parse().unwrap(),
        last: "192.168.24.13".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    Db { dir, store }
}

fn new(name: &str, macs: &[u8]) -> NewNode {
    NewNode::try_from(RawNode {
        name: name.into(),
        bmc_address: "127.0.0.1".into(),
        bmc_port: Some(6230 + macs.first().copied().map_or(0, u32::from)),
        bmc_user: "admin".into(),
        bmc_password: Secret::new("correct horse 16"),
        macs: macs.iter().map(|n| format!("52:54:00:00:00:{n:02x}")).collect(),
        ..RawNode::default()
    })
    .unwrap()
}

/// Something that network boot saw.
fn seen(said: &str) -> NewEvent {
    Netboot::Seen { mac: None, said: said.to_owned(), is_warning: false }.into()
}

/// A turn that does only this.
async fn turn(store: &Store, node: &Node, next: &Next) -> Result<Node, StoreError> {
    let commit = TurnCommit {
        node,
        next: Some(next),
        taken: None,
        done: None,
        power: None,
        due_at: None,
        events: Vec::new(),
    };
    store.commit(commit, NOW).await
}

/// A node whose ramdisk may say hello.
async fn in_window(store: &Store) -> Node {
    let node = store.enrol_node(new("compute-0", &[1]), NOW).await.unwrap();
    let next = Next::to(&node, ProvisionState::Inspecting, NOW)
        .target(ProvisionState::Manageable)
        .phase(Phase::AgentBoots, NOW + 1000)
        .effect(Effect::OpenBootWindow { until: NOW + 1000 });
    turn(store, &node, &next).await.unwrap()
}

async fn ramdisk(store: &Store) -> Principal {
    let node = in_window(store).await;
    hello(store, &node).await
}

async fn hello(store: &Store, node: &Node) -> Principal {
    let mac = node.ports[0].mac;
    let plan = store.boot_target(mac, NOW).await.unwrap().unwrap();
    let hello = undercloud_model::agent::Hello {
        protocol: PROTOCOL_VERSION,
        node: node.id,
        secret: plan.secret,
        boot_id: "a".into(),
        agent_version: "0".into(),
    };
    let key = store.agent_hello(&hello, NOW).await.unwrap().session_key;
    store.authenticate(&key).await.unwrap().unwrap()
}

fn poll() -> Poll {
    Poll {
        protocol: PROTOCOL_VERSION,
        boot_id: "a".into(),
        busy: Vec::new(),
        ssh_host_key: None,
        health: None,
    }
}

#[tokio::test]
async fn nodes_are_found_by_name_and_id_and_survive_a_restart() {
    let Db { dir, store } = db().await;
    let node = store.enrol_node(new("controller-0", &[1, 2]), NOW).await.unwrap();
    store.close().await;
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    assert_eq!(store.node("controller-0").await.unwrap(), node);
    assert_eq!(store.node(node.id).await.unwrap(), node);
    let upper = node.id.to_string().to_uppercase();
    assert_eq!(store.node(upper).await.unwrap(), node);
    assert_eq!(store.nodes().await.unwrap(), std::slice::from_ref(&node));
    let password = store.bmc_password(node.id).await.unwrap();
    assert_eq!(password, Secret::new("correct horse 16"));
    assert!(matches!(store.node("nobody").await, Err(StoreError::NoNode(_))));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let Db { dir, store } = db().await;
    let mut write = store.write().await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'later', 1, x'00', 0)",
    )
    .execute(write.sql())
    .await
    .unwrap();
    write.commit("pretend").await.unwrap();
    store.close().await;
    let error = Store::open(file(&dir), Open::at(NOW)).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { theirs: 99, .. }), "{error}");
}

#[tokio::test]
async fn addresses_are_the_lowest_free_ones_and_run_out() {
    let Db { dir: _dir, store } = db().await;
    let first = store.enrol_node(new("a", &[1, 2]), NOW).await.unwrap();
    store.enrol_node(new("b", &[3]), NOW).await.unwrap();
    store.delete_node("a", NOW).await.unwrap();
    let third = store.enrol_node(new("c", &[4]), NOW).await.unwrap();
    assert_eq!(third.ports[0].address, first.ports[0].address);
    let error = store.enrol_node(new("d", &[5, 6, 7]), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NoAddress { .. }), "{error}");
    assert!(store.node("d").await.is_err(), "nothing of it is left");
    store.enrol_node(new("d", &[5, 6]), NOW).await.unwrap();
}

#[tokio::test]
async fn names_and_interfaces_are_one_nodes_only() {
    let Db { dir: _dir, store } = db().await;
    store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    let error = store.enrol_node(new("a", &[2]), NOW).await.unwrap_err();
    assert_eq!(error.to_string(), "A node with name a already exists.");
    let error = store.enrol_node(new("b", &[1]), NOW).await.unwrap_err();
    assert!(error.to_string().contains("52:54:00:00:00:01 already exists; it is a's"), "{error}");
    store.enrol_node(new("b", &[2]), NOW).await.unwrap();
    let rename = NodeChange { name: Some("a".parse().unwrap()), ..NodeChange::default() };
    assert!(matches!(store.change_node("b", rename, NOW).await, Err(StoreError::NameTaken(_))));
    let rename = NodeChange { name: Some("c".parse().unwrap()), ..NodeChange::default() };
    store.change_node("b", rename, NOW).await.unwrap();
    assert!(store.node("b").await.is_err());
    assert_eq!(store.node("c").await.unwrap().ports[0].mac, "52:54:00:00:00:02".parse().unwrap());
}

#[tokio::test]
async fn an_import_is_the_same_the_second_time_and_changes_what_was_corrected() {
    let Db { dir: _dir, store } = db().await;
    let first = store.import_node(new("a", &[1]), NOW).await.unwrap();
    assert!(matches!(first, Enrolled::Created(_)));
    let writes = store.writes();
    assert!(matches!(store.import_node(new("a", &[1]), NOW).await.unwrap(), Enrolled::Same(_)));
    assert_eq!(store.writes(), writes);
    let mut corrected = new("a", &[1]);
    corrected.bmc_password = Secret::new("another password");
    corrected.root_device = RootDeviceHints { size: Some(20), ..RootDeviceHints::default() };
    let Enrolled::Changed(node) = store.import_node(corrected, NOW).await.unwrap() else {
        panic!()
    };
    assert_eq!(node.id, first.node().id);
    assert_eq!(store.node("a").await.unwrap().root_device.size, Some(20));
    assert_eq!(store.bmc_password(node.id).await.unwrap(), Secret::new("another password"));
    let error = store.import_node(new("a", &[9]), NOW).await.unwrap_err();
    assert!(error.to_string().contains("delete it and import it again"), "{error}");
}

#[tokio::test]
async fn an_import_is_all_or_none() {
    let Db { dir: _dir, store } = db().await;
    let kept = store.import_nodes(vec![new("kept", &[9])], NOW).await.unwrap();
    let writes = store.writes();
    // The range has four addresses, and one is taken.
    let too_many = ["a", "b", "c", "d"].iter().zip(1..);
    let too_many: Vec<_> = too_many.map(|(name, mac)| new(name, &[mac])).collect();
    let error = store.import_nodes(too_many, NOW).await.unwrap_err();
    assert!(error.to_string().contains("no free address for d"), "{error}");
    assert!(error.to_string().contains("nothing was enrolled"), "{error}");
    let mut taken = new("b", &[2]);
    taken.macs = new("x", &[9]).macs;
    let error = store.import_nodes(vec![new("a", &[1]), taken], NOW).await.unwrap_err();
    assert!(error.to_string().contains("it is kept's, and cannot be b's"), "{error}");
    let names: Vec<_> = store.nodes().await.unwrap().into_iter().map(|n| n.name).collect();
    assert_eq!((names, store.writes()), (vec![kept[0].node().name.clone()], writes));
    let both = vec![new("a", &[1]), new("kept", &[9])];
    let done = store.import_nodes(both, NOW).await.unwrap();
    assert!(matches!(done[..], [Enrolled::Created(_), Enrolled::Same(_)]));
}

#[tokio::test]
async fn a_bmc_is_one_nodes_only_also_across_imports_and_changes() {
    let Db { dir: _dir, store } = db().await;
    store.import_nodes(vec![new("a", &[1]), new("b", &[2])], NOW).await.unwrap();
    let ports =
        async || [store.node("a").await, store.node("b").await].map(|n| n.unwrap().bmc.port);
    let mut third = new("c", &[3]);
    third.bmc.port = 6231;
    let error = store.import_nodes(vec![third], NOW).await.unwrap_err();
    let sentence = "BMC 127.0.0.1:6231 is that of a's machine: c cannot have it too";
    assert_eq!(error.to_string(), sentence);
    assert!(error.hint().unwrap().ends_with("undercloud node delete a"));
    // A correction must not take another's.
    let mut corrected = new("b", &[2]);
    corrected.bmc.port = 6231;
    let error = store.import_nodes(vec![corrected.clone()], NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::BmcTaken { .. }), "{error}");
    let change = NodeChange { bmc: Some(corrected.bmc.clone()), ..NodeChange::default() };
    assert!(matches!(store.change_node("b", change, NOW).await, Err(StoreError::BmcTaken { .. })));
    assert_eq!(ports().await, [6231, 6232]);
    // They may change places in one file.
    let mut other = new("a", &[1]);
    other.bmc.port = 6232;
    store.import_nodes(vec![other, corrected], NOW).await.unwrap();
    assert_eq!(ports().await, [6232, 6231]);
}

#[tokio::test]
async fn a_busy_node_is_neither_changed_nor_deleted() {
    let Db { dir: _dir, store } = db().await;
    in_window(&store).await;
    let mut other = new("compute-0", &[1]);
    other.bmc.port = 624;
    assert!(matches!(store.import_node(other, NOW).await, Err(StoreError::WrongState { .. })));
    let error = store.delete_node("compute-0", NOW).await.unwrap_err();
    assert!(error.to_string().contains("maintenance"), "{error}");
    let maintenance = Some(Maintenance { reason: None });
    store.set_maintenance("compute-0", maintenance, NOW).await.unwrap();
    store.delete_node("compute-0", NOW).await.unwrap();
    assert!(store.lease_for("52:54:00:00:00:01".parse().unwrap()).await.unwrap().is_none());
    assert!(!store.events_since(Scope::All, 0, 100).await.unwrap().is_empty(), "history stays");
}

#[tokio::test]
async fn without_a_range_nobody_is_enrolled_and_a_range_is_inside_its_network() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    assert!(matches!(store.enrol_node(new("a", &[1]), NOW).await, Err(StoreError::NoRange)));
    let range = |first: &str, last: &str| ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
    };
    for (first, last) in [
        ("192.168.24.20", "192.168.24.10"),
        ("192.168.23.10", "192.168.24.10"),
        ("192.168.24.10", "192.168.25.10"),
    ] {
        let bad = store.set_provisioning_range(&range(first, last)).await;
        assert!(matches!(bad, Err(StoreError::BadRange { .. })));
    }
}

#[tokio::test]
async fn a_turn_that_looked_at_an_old_record_is_refused_and_writes_nothing() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    store.request("a", Verb::Manage, NOW).await.unwrap();
    let looked = store.situation(node.id).await.unwrap().unwrap();
    let maintenance = Some(Maintenance { reason: None });
    store.set_maintenance("a", maintenance, NOW).await.unwrap();
    let next = Next::to(&looked.node, ProvisionState::Verifying, NOW)
        .target(ProvisionState::Manageable)
        .phase(Phase::ReadPower, NOW + 1)
        .act(undercloud_model::node::Action::ReadPower);
    let commit = TurnCommit {
        node: &looked.node,
        next: Some(&next),
        taken: looked.inbox.as_ref().map(|(id, _)| *id),
        done: None,
        power: None,
        due_at: None,
        events: vec![RecordNews::Changed.into()],
    };
    let error = store.commit(commit.clone(), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Stale(_)), "{error}");
    let still = store.situation(node.id).await.unwrap().unwrap();
    assert!(still.inbox.is_some() && still.action.is_none());
    assert_eq!(still.node.state, ProvisionState::Enroll);
    // One that stays, but takes an event, is refused as well.
    let stays = TurnCommit { next: None, ..commit.clone() };
    assert!(matches!(store.commit(stays, NOW).await, Err(StoreError::Stale(_))));
    let fresh = TurnCommit { node: &still.node, ..commit };
    store.commit(fresh, NOW).await.unwrap();
    let after = store.situation(node.id).await.unwrap().unwrap();
    assert_eq!(after.action.unwrap().key, "1-0-read-power");
    assert!(after.inbox.is_none());
    assert!(after.node.maintenance.is_none(), "the decision was made on the old record");
}

#[tokio::test]
async fn one_request_at_a_time() {
    let Db { dir: _dir, store } = db().await;
    store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    let refused =
        store.request("a", Verb::Provide { wipe: WipeScope::default() }, NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)));
    let first = store.request("a", Verb::Manage, NOW).await.unwrap();
    let again = store.request("a", Verb::Manage, NOW).await.unwrap_err();
    assert!(matches!(again, StoreError::Pending(_)));
    assert!(!store.wait_taken(&first, Duration::from_millis(1)).await.unwrap());
    let (id, event) = store.situation(first.node).await.unwrap().unwrap().inbox.unwrap();
    assert_eq!((id, event), (first.intent, Event::Verb { request: Verb::Manage }));
    let followed = store.events_since(Scope::Node(first.node), first.cursor, 10).await.unwrap();
    assert_eq!(followed[0].text, "asked for: manage");
}

#[tokio::test]
async fn events_are_in_order_by_page_and_by_node() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    let start = store.last_event().await.unwrap();
    for n in 0..5 {
        let whose = (n % 2 == 0).then_some(node.id);
        store.record(whose, &seen(&format!("event {n}")), NOW + n).await.unwrap();
    }
    let texts = |events: Vec<TimelineEvent>| events.into_iter().map(|e| e.text).collect::<Vec<_>>();
    let page = store.events_since(Scope::All, start, 2).await.unwrap();
    let cursor = page[1].id;
    assert_eq!(texts(page), ["event 0", "event 1"]);
    let rest = store.events_since(Scope::All, cursor, 100).await.unwrap();
    assert_eq!(rest[0].data.as_ref().unwrap()["said"], "event 2");
    assert_eq!(texts(rest), ["event 2", "event 3", "event 4"]);
    let own = store.events_since(Scope::Node(node.id), start, 100).await.unwrap();
    assert_eq!(texts(own), ["event 0", "event 2", "event 4"]);
}

#[tokio::test]
async fn a_poll_is_answered_when_there_is_an_order_and_the_same_until_it_is_reported() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let reply = store.agent_poll(&agent, &poll(), Duration::from_millis(1), NOW).await.unwrap();
    assert_eq!(reply.order, None);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store.agent_poll(&agent, &poll(), Duration::from_secs(60), NOW).await
        })
    };
    let put = |key: &'static str| {
        store.put_order(agent.node, AgentKind::Ramdisk, key, &Step::Inspect, None, NOW)
    };
    let id = put("1-0-order").await.unwrap();
    assert_eq!(put("1-0-order").await.unwrap(), id, "the same key is the same order");
    let order = waiting.await.unwrap().unwrap().order.unwrap();
    assert_eq!((order.id, order.step), (id, Step::Inspect));
    let again = store.agent_poll(&agent, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(again.order.unwrap().id, id);

    let failure = StepFailure::new(StepFailureKind::DiskIo, "bad");
    let report = Report { id, outcome: Outcome::Failed(failure), log: Vec::new() };
    store.agent_report(&agent, &report, NOW).await.unwrap();
    store.agent_report(&agent, &report, NOW).await.unwrap();
    let after = store.agent_poll(&agent, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(after.order, None);
    let inbox: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM inbox WHERE json_extract(event, '$.event') = 'step_reported'",
    )
    .fetch_one(&mut *store.read().await.unwrap())
    .await
    .unwrap();
    assert_eq!(inbox, 1, "a report that is repeated is one report");
    assert_eq!(store.order(id).await.unwrap().unwrap().outcome, Some(report.outcome));
}

/// A ramdisk that was thought dead is still held on a poll when the machine boots again.
#[tokio::test]
async fn an_order_for_a_new_ramdisk_is_not_given_to_the_one_before() {
    let Db { dir: _dir, store } = db().await;
    let before = ramdisk(&store).await;
    let asks = poll();
    let mut old = Box::pin(store.agent_poll(&before, &asks, Duration::from_secs(3600), NOW));
    let mut uses = store.uses();
    let used = uses.borrow().ever;
    // It wrote its heartbeat and read its key and its orders.
    tokio::select! {
        reply = &mut old => panic!("{reply:?}"),
        held = uses.wait_for(|uses| uses.now == 0 && uses.ever >= used + 3) => drop(held.unwrap()),
    }
    let node = store.node(before.node).await.unwrap();
    let next = Next::to(&node, ProvisionState::Inspecting, NOW)
        .target(ProvisionState::Manageable)
        .phase(Phase::AgentBoots, NOW + 1000)
        .effect(Effect::OpenBootWindow { until: NOW + 1000 });
    let node = turn(&store, &node, &next).await.unwrap();
    let new = hello(&store, &node).await;
    let put = store.put_order(new.node, AgentKind::Ramdisk, "2-0", &Step::Inspect, None, NOW);
    let id = put.await.unwrap();
    assert_eq!(old.await.unwrap().order, None);
    let reply = store.agent_poll(&new, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(reply.order.unwrap().id, id);
}

#[tokio::test]
async fn agents_that_wait_are_not_woken_by_what_others_write() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let mut others = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(n));
        let other = Principal { node, kind: AgentKind::Ramdisk };
        others.spawn(async move {
            store.agent_poll(&other, &poll(), Duration::from_secs(60), NOW).await
        });
    }
    // Each has looked once: one use for the heartbeat, one for its key and one for its orders.
    let mut uses = store.uses();
    let before = uses.borrow().ever;
    uses.wait_for(|uses| uses.now == 0 && uses.ever >= before + 60).await.unwrap();
    let before = store.uses().borrow().ever;
    for n in 0..10 {
        store.record(Some(agent.node), &seen("it goes on"), NOW + n).await.unwrap();
    }
    let key = "1-0-order";
    store.put_order(agent.node, AgentKind::Ramdisk, key, &Step::Inspect, None, NOW).await.unwrap();
    let reply = store.agent_poll(&agent, &poll(), Duration::from_secs(60), NOW).await.unwrap();
    assert!(reply.order.is_some());
    let uses = store.uses().borrow().ever - before;
    assert!(uses < 20, "{uses} uses for eleven writes and a poll");
}

#[tokio::test]
async fn a_withdrawn_order_is_neither_sent_nor_heard_of() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let step = Step::Inspect;
    let id = store.put_order(agent.node, AgentKind::Ramdisk, "k", &step, None, NOW).await.unwrap();
    let node = store.node(agent.node).await.unwrap();
    let next = Next::to(&node, ProvisionState::InspectFailed, NOW).effect(Effect::EndRamdisk);
    turn(&store, &node, &next).await.unwrap();
    let reply = store.agent_poll(&agent, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(reply.order, None);
    let failure = StepFailure::new(StepFailureKind::DiskIo, "bad");
    let report = Report { id, outcome: Outcome::Failed(failure), log: Vec::new() };
    store.agent_report(&agent, &report, NOW).await.unwrap();
    assert_eq!(store.order(id).await.unwrap().unwrap().outcome, None);
    assert!(store.boot_target(node.ports[0].mac, NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_machines_key_is_good_until_it_is_revoked_and_its_order_forgets_it() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let key = fresh_secret().unwrap();
    let put = store.put_order(agent.node, AgentKind::Ramdisk, "k", &Step::Inspect, Some(&key), NOW);
    let id = put.await.unwrap();
    let installed = store.authenticate(&key).await.unwrap().unwrap();
    assert_eq!((installed.node, installed.kind), (agent.node, AgentKind::Installed));
    let own = store.agent_poll(&installed, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(own.order, None, "the ramdisk's orders are not the installed system's");
    assert_eq!(store.ssh_host_key(agent.node).await.unwrap(), None);
    let host_key = || {
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ".parse()
    };
    let said = Poll { ssh_host_key: host_key().ok(), ..poll() };
    store.agent_poll(&installed, &said, Duration::ZERO, NOW).await.unwrap();
    store.agent_poll(&agent, &poll(), Duration::ZERO, NOW).await.unwrap();
    assert_eq!(store.ssh_host_key(agent.node).await.unwrap(), host_key().ok());
    let failure = StepFailure::new(StepFailureKind::DiskIo, "bad");
    let report = Report { id, outcome: Outcome::Failed(failure), log: Vec::new() };
    store.agent_report(&agent, &report, NOW).await.unwrap();
    let body: Option<String> = sqlx::query_scalar("SELECT body FROM orders WHERE id = $1")
        .bind(id.to_string())
        .fetch_one(&mut *store.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(body, None);
    let node = store.node(agent.node).await.unwrap();
    let next = Next::to(&node, ProvisionState::Active, NOW).effect(Effect::RevokeMachineKey);
    turn(&store, &node, &next).await.unwrap();
    assert!(store.authenticate(&key).await.unwrap().is_none());
    assert_eq!(store.ssh_host_key(agent.node).await.unwrap(), None);
}

#[tokio::test]
async fn a_renewed_key_takes_the_place_of_the_one_before() {
    let db = db().await;
    let store = &db.store;
    let node = in_window(store).await.id;
    let host_key = || {
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ".parse()
    };
    let keys = async |key: &Secret| store.authenticate(key).await.unwrap();
    let first = store.renew_machine_key(node, NOW).await.unwrap();
    let agent = keys(&first).await.unwrap();
    assert_eq!(agent, Principal { node, kind: AgentKind::Installed });
    let said = Poll { ssh_host_key: host_key().ok(), ..poll() };
    store.agent_poll(&agent, &said, Duration::ZERO, NOW).await.unwrap();
    let second = store.renew_machine_key(node, NOW + 1).await.unwrap();
    assert_eq!((keys(&first).await, keys(&second).await), (None, Some(agent)));
    // It is the same system, that nobody has heard since.
    assert_eq!(store.ssh_host_key(node).await.unwrap(), host_key().ok());
    assert_eq!(store.installed_seen_at(node).await.unwrap(), Some(NOW));
    let events = store.events_since(Scope::Node(node), 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().text, "the installed system's agent gets a new key");
}

#[tokio::test]
async fn progress_is_a_heartbeat_and_is_written_now_and_then() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let put = store.put_order(agent.node, AgentKind::Ramdisk, "k", &Step::Inspect, None, NOW);
    let id = put.await.unwrap();
    for ms in 0..1500 {
        let progress = Progress { id, done_bytes: ms, total_bytes: u64::MAX };
        let now = NOW + i64::try_from(ms).unwrap();
        store.agent_progress(&agent, &progress, now).await.unwrap();
    }
    let progress = store.order(id).await.unwrap().unwrap().progress.unwrap();
    assert_eq!(progress.done_bytes, 1000);
    let seen = store.situation(agent.node).await.unwrap().unwrap().ramdisk_seen_at;
    assert_eq!(seen, Some(NOW + 1499));
}

#[tokio::test]
async fn progress_of_anothers_work_is_refused_and_costs_nothing() {
    let Db { dir: _dir, store } = db().await;
    let agent = ramdisk(&store).await;
    let installed = Principal { kind: AgentKind::Installed, ..agent };
    let put = store.put_order(agent.node, AgentKind::Ramdisk, "k", &Step::Inspect, None, NOW);
    let id = put.await.unwrap();
    store
        .agent_progress(&installed, &Progress { id, done_bytes: 1, total_bytes: 2 }, NOW)
        .await
        .unwrap_err();
    // Whoever calls lives, and that is written down now and then.
    store.agent_poll(&agent, &poll(), Duration::ZERO, NOW).await.unwrap();
    let writes = store.writes();
    for n in 0..1000u128 {
        let id = undercloud_model::StepId::from_uuid(uuid::Uuid::from_u128(n));
        let progress = Progress { id, done_bytes: 1, total_bytes: 2 };
        let refused = store.agent_progress(&agent, &progress, NOW).await.unwrap_err();
        assert_eq!(refused.kind(), undercloud_model::ErrorKind::Denied);
    }
    assert_eq!((store.writes(), store.memory().progress_written.len()), (writes, 0));
    // Orders that were withdrawn are forgotten too.
    let own = Progress { id, done_bytes: 1, total_bytes: 2 };
    store.agent_progress(&agent, &own, NOW).await.unwrap();
    let put = store.put_order(agent.node, AgentKind::Ramdisk, "l", &Step::Inspect, None, NOW);
    let next = Progress { id: put.await.unwrap(), ..own };
    store.agent_progress(&agent, &next, NOW + 5000).await.unwrap();
    assert_eq!(store.memory().progress_written.len(), 1);
}

#[tokio::test]
async fn images_are_what_the_image_crate_says() {
    let Db { dir: _dir, store } = db().await;
    let digest = undercloud_model::Digest::from_bytes([7; 32]);
    let record = |kind: &str| {
        serde_json::json!({
            "kind": kind, "digest": digest, "encoding": "plain", "has_agent": true,
            "content": { "digest": digest, "size": 5 }, "min_disk_bytes": 9, "more": "is kept",
        })
    };
    store.put_image("full", &digest, &record("disk"), NOW).await.unwrap();
    store.put_image("kernel", &digest, &record("kernel"), NOW).await.unwrap();
    let image = store.deployable_image("full").await.unwrap();
    assert_eq!((image.source.disk_bytes, image.min_disk_bytes), (5, 9));
    assert!(matches!(store.deployable_image("kernel").await, Err(StoreError::NotADisk(_))));
    assert!(matches!(store.deployable_image("none").await, Err(StoreError::NoImage(_))));
    assert_eq!(store.images::<serde_json::Value>().await.unwrap()[0].record["more"], "is kept");
    assert!(store.remove_image("full").await.unwrap());
    assert!(!store.remove_image("full").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_wait_for_each_other() {
    let Db { dir: _dir, store } = db().await;
    let before = store.last_event().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            let event = seen(&n.to_string());
            store.record(None, &event, NOW).await.unwrap();
            store.nodes().await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.events_since(Scope::All, before, 100).await.unwrap().len(), 64);
}

#[tokio::test]
async fn what_is_written_for_a_caller_names_the_caller() {
    let Db { dir: _dir, store } = db().await;
    store.record(None, &seen("by nobody"), NOW).await.unwrap();
    let eva = Caller::at_socket(0, Some(7), Some("root (eva)")).unwrap();
    let asked = store.asked_by(&eva);
    let done = asked.import_nodes(vec![new("a", &[1]), new("b", &[2])], NOW).await.unwrap();
    asked.request(done[0].node().id, Verb::Manage, NOW).await.unwrap();
    asked.set_maintenance("b", Some(Maintenance { reason: None }), NOW).await.unwrap();
    asked.delete_node("b", NOW).await.unwrap();
    store.record(None, &seen("by nobody again"), NOW).await.unwrap();
    let events = store.events_since(Scope::All, 0, 100).await.unwrap();
    let by: Vec<Option<&str>> =
        events.iter().map(|e| e.data.as_ref().and_then(|data| data["by"].as_str())).collect();
    let named = [Some("root (eva)"); 5];
    assert_eq!((by[0], &by[1..6], &by[6..]), (None, &named[..], &[None][..]));
    assert_eq!(events[3].data.as_ref().unwrap()["verb"], "manage", "what else is known stays");
}

#[tokio::test]
async fn a_transaction_that_is_dropped_never_was() {
    let Db { dir: _dir, store } = db().await;
    let mut write = store.write().await.unwrap();
    let event = seen("never");
    timeline::append(write.sql(), None, &event, NOW).await.unwrap();
    drop(write);
    store.record(None, &seen("once"), NOW).await.unwrap();
    let events = store.events_since(Scope::All, 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(), ["once"]);
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_any_more_is_told_all_the_same() {
    let Db { dir: _dir, store } = db().await;
    for polls in 1..50 {
        let mut changes = store.changes();
        changes.mark_unchanged();
        let before = store.last_event().await.unwrap();
        {
            let event = seen("once");
            let mut record = std::pin::pin!(store.record(None, &event, NOW));
            let mut polled = 0;
            std::future::poll_fn(|context| {
                polled += 1;
                let ready = record.as_mut().poll(context).is_ready();
                if ready || polled == polls {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        }
        // The writer is free again when what was begun is over, well or not.
        drop(store.write().await.unwrap());
        let is_there = store.last_event().await.unwrap() > before;
        assert!(!is_there || changes.has_changed().unwrap(), "after {polls} polls");
    }
}

#[tokio::test]
async fn odd_names_find_nobody_and_break_nothing() {
    let Db { dir: _dir, store } = db().await;
    store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    for ident in ["", "' OR 1=1 --", "%", "\0", "a ", &"x".repeat(10_000)] {
        let error = store.node(ident).await.unwrap_err();
        assert!(matches!(error, StoreError::NoNode(_)));
        assert!(error.to_string().len() < 200);
    }
    let stranger: MacAddr = "52:54:00:00:00:77".parse().unwrap();
    let seen = Seen { said: "DHCP: nobody enrolled this interface", is_warning: true };
    store.netboot_event(Some(stranger), None, seen, NOW).await.unwrap();
    let events = store.events_since(Scope::All, 0, 100).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((last.node, last.text.starts_with("52:54:00:00:00:77: ")), (None, true));
    let _: Option<Inventory> = store.node("a").await.unwrap().inventory;
}

#[tokio::test]
async fn an_agent_that_is_busy_with_an_order_is_given_the_next() {
    let Db { store, dir: _dir } = db().await;
    let node = store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap();
    let principal = Principal { node: node.id, kind: AgentKind::Installed };
    let mut ids = Vec::new();
    for key in ["x/1", "x/2"] {
        let put = store.put_order(node.id, AgentKind::Installed, key, &Step::Inspect, None, NOW);
        ids.push(put.await.unwrap());
    }
    let next = async |busy: &[undercloud_model::StepId]| {
        let poll = Poll { busy: busy.to_vec(), ..poll() };
        let reply = store.agent_poll(&principal, &poll, Duration::ZERO, NOW).await.unwrap();
        reply.order.map(|order| order.id)
    };
    assert_eq!(next(&[]).await, Some(ids[0]));
    assert_eq!(next(&ids[..1]).await, Some(ids[1]));
    assert_eq!(next(&ids).await, None);
    store.withdraw_orders_under("x/", NOW).await.unwrap();
    assert_eq!(next(&[]).await, None);
    assert!(store.orders_under("x/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_is_written_once_and_run_until_it_is_done() {
    let Db { store, dir: _dir } = db().await;
    let digest = |n| undercloud_model::Digest::from_bytes([n; 32]);
    let (first, second) = (serde_json::json!({"n": 1}), serde_json::json!({"n": 2}));
    let begun = store.begin_deployment(&first, &digest(1), "x/", NOW).await.unwrap();
    assert_eq!((begun.number, begun.attempt), (1, 1));
    // The daemon died: the same run goes on.
    let node = store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap();
    let step = Step::Inspect;
    let put = async |key: &str| {
        store.put_order(node.id, AgentKind::Installed, key, &step, None, NOW).await.unwrap();
        store.orders_under("x/").await.unwrap().len()
    };
    assert_eq!(put("x/1/1/a").await, 1);
    let again = store.begin_deployment(&first, &digest(1), "x/", NOW + 1).await.unwrap();
    assert_eq!((again.number, again.attempt, again.started_at), (1, 1, NOW));
    assert_eq!(store.orders_under("x/").await.unwrap().len(), 1, "its orders go on");
    store.end_deployment(1, Some("compute-0 was switched off"), NOW + 2).await.unwrap();
    let next = store.begin_deployment(&first, &digest(1), "x/", NOW + 3).await.unwrap();
    assert_eq!((next.number, next.attempt, next.failure), (1, 2, None));
    // In the same breath: a daemon that dies after it leaves no order of the run before.
    assert!(store.orders_under("x/").await.unwrap().is_empty());
    assert_eq!(put("x/1/2/a").await, 1);
    store.end_deployment(1, None, NOW + 4).await.unwrap();
    let other = store.begin_deployment(&second, &digest(2), "x/", NOW + 5).await.unwrap();
    assert_eq!((other.number, other.plan), (2, second));
    assert!(store.orders_under("x/").await.unwrap().is_empty());
    let report = serde_json::json!({"passed": true});
    store.set_verification(1, &report).await.unwrap();
    assert!(matches!(store.set_verification(7, &report).await, Err(StoreError::NoDeployment(7))));
    let rows = store.deployments::<serde_json::Value>().await.unwrap();
    assert_eq!(rows.iter().map(|r| r.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((rows[1].verification.as_ref(), &rows[1].plan), (Some(&report), &first));
    let mut write = store.write().await.unwrap();
    let changed = sqlx::query("UPDATE deployments SET plan = '{}'").execute(write.sql()).await;
    assert!(changed.unwrap_err().to_string().contains("never changed"));
}

#[tokio::test]
async fn a_secret_is_generated_once() {
    let Db { store, dir: _dir } = db().await;
    let kept = store.keep_cloud_secret("a", &Secret::new("one"), NOW).await.unwrap();
    let again = store.keep_cloud_secret("a", &Secret::new("two"), NOW).await.unwrap();
    assert_eq!((&kept, &again), (&Secret::new("one"), &Secret::new("one")));
    store.replace_cloud_secret("a", &Secret::new("three"), NOW).await.unwrap();
    assert_eq!(store.cloud_secret("a").await.unwrap(), Some(Secret::new("three")));
    assert_eq!(store.cloud_secret("b").await.unwrap(), None);
}
