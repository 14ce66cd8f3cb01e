//! Whose an event is, what it came of, and how often it is written.

use undercloud_model::{
    Digest, NodeId,
    agent::{Hello, PROTOCOL_VERSION, StepResult, cloud::Converged},
    timeline::{Change, Happening, PowerNews, RunNews},
};

use super::*;

async fn all(store: &Store) -> Vec<TimelineEvent> {
    store.events_since(Scope::All, 0, 1000).await.unwrap()
}

/// A turn that takes what waits, and goes to `state` or stays.
async fn turn(store: &Store, node: NodeId, state: Option<ProvisionState>) {
    let looked = store.situation(node).await.unwrap().unwrap();
    let next = state.map(|state| {
        let next = Next::to(&looked.node, state, NOW);
        let is_over = state.is_stable();
        if is_over { next } else { next.phase(Phase::ReadPower, NOW + 1) }
    });
    let change = state.map(|to| Change { from: looked.node.state, to, in_state_ms: 1 });
    let commit = TurnCommit {
        node: &looked.node,
        next: next.as_ref(),
        taken: looked.inbox.as_ref().map(|(id, _)| *id),
        done: None,
        power: None,
        due_at: None,
        events: change.into_iter().map(NewEvent::from).collect(),
    };
    store.commit(commit, NOW).await.unwrap();
}

#[tokio::test]
async fn what_follows_from_a_request_has_its_number_until_it_is_over() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    let asked = store.request("a", Verb::Manage, NOW).await.unwrap();
    let asked_event = all(&store).await.pop().unwrap();
    assert_eq!((asked_event.request, asked_event.cause), (Some(asked.intent), Some(Cause::Person)));
    turn(&store, node.id, Some(ProvisionState::Verifying)).await;
    store.record(Some(node.id), &seen("a boot"), NOW).await.unwrap();
    turn(&store, node.id, Some(ProvisionState::Manageable)).await;
    store.record(Some(node.id), &RecordNews::Changed.into(), NOW).await.unwrap();
    let events = all(&store).await;
    let events: Vec<_> =
        events.iter().map(|e| (e.text.as_str(), e.visit, e.request.is_some())).collect();
    assert_eq!(
        events,
        [
            ("a was enrolled, BMC 127.0.0.1:6231", Some(0), false),
            ("asked for: manage", Some(0), true),
            ("enroll → verifying", Some(1), true),
            ("a boot", Some(1), true),
            ("verifying → manageable", Some(2), true),
            ("record changed", Some(2), false),
        ]
    );
}

#[tokio::test]
async fn a_request_that_is_not_taken_up_takes_nothing_over() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    store.request("a", Verb::Manage, NOW).await.unwrap();
    turn(&store, node.id, Some(ProvisionState::Manageable)).await;
    let inspect = store.request("a", Verb::Inspect, NOW).await.unwrap();
    turn(&store, node.id, Some(ProvisionState::InspectWait)).await;
    let abort = store.request("a", Verb::Abort, NOW).await.unwrap();
    turn(&store, node.id, None).await;
    store.record(Some(node.id), &seen("a boot"), NOW).await.unwrap();
    assert_eq!(all(&store).await.pop().unwrap().request, Some(inspect.intent));
    // One that is taken up does.
    let again = store.request("a", Verb::Abort, NOW).await.unwrap();
    turn(&store, node.id, Some(ProvisionState::InspectFailed)).await;
    let last = all(&store).await.pop().unwrap();
    assert_eq!(
        (last.text.as_str(), last.request),
        ("inspect wait → inspect failed", Some(again.intent))
    );
    assert!(abort.intent < again.intent);
}

#[tokio::test]
async fn the_same_again_soon_is_counted() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("a", &[1]), NOW).await.unwrap();
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        node: node.id,
        secret: Secret::new("0".repeat(64)),
        boot_id: "x".into(),
        agent_version: "1".into(),
    };
    let start = store.last_event().await.unwrap();
    for number in 0..100 {
        store.agent_hello(&hello, NOW + number).await.unwrap_err();
    }
    let lost = NewEvent::from(PowerNews::Lost { why: "no answer".into() });
    store.record(Some(node.id), &lost, NOW + 200).await.unwrap();
    store.record(None, &lost, NOW + 200).await.unwrap();
    store.record(Some(node.id), &lost, NOW + 300).await.unwrap();
    store.agent_hello(&hello, NOW + 600_001).await.unwrap_err();
    let events = store.events_since(Scope::All, start, 100).await.unwrap();
    let denied = "an agent's hello was denied: the boot secret is not known";
    let lost = "its power is not known any more: no answer";
    let events: Vec<_> =
        events.iter().map(|e| (e.text.as_str(), e.node.is_some(), e.times)).collect();
    assert_eq!(events, [(denied, true, 100), (lost, true, 2), (lost, false, 1), (denied, true, 1)]);
    // What is not somebody's noise is written each time.
    for _ in 0..2 {
        store.record(Some(node.id), &RecordNews::Changed.into(), NOW).await.unwrap();
    }
    let last = all(&store).await.split_off(events.len());
    assert_eq!(last.iter().rev().take(2).map(|e| e.times).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn every_run_keeps_its_own_times_and_is_on_the_timeline() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap();
    let (digest, plan) = (Digest::from_bytes([7; 32]), serde_json::json!({}));
    let start = store.last_event().await.unwrap();
    let begin = async |at| store.begin_deployment(&plan, &digest, "x/", at).await.unwrap();
    let step = |attempt| StepOf {
        run: Run { deployment: 1, attempt },
        node: node.id,
        machine: &node.name,
        key: "a",
        title: "Do a",
    };
    begin(NOW).await;
    // The daemon died and is asked again: neither the run nor its step begins another time.
    begin(NOW + 1).await;
    for _ in 0..2 {
        store.begin_step(&step(1), "x/1/1/a", &Step::Inspect, NOW + 2).await.unwrap();
    }
    let run = Run { deployment: 1, attempt: 1 };
    let why = "its agent is silent".to_owned();
    store.lose_machine(run, (node.id, &node.name), why, "x/", NOW + 3).await.unwrap();
    assert!(store.orders_under("x/").await.unwrap().is_empty());
    for _ in 0..2 {
        store.end_deployment(1, Some("lost"), NOW + 4000).await.unwrap();
    }
    begin(NOW + 5000).await;
    let done = Converged { changed: true, note: "new".into(), took_ms: 2000 };
    let done = Outcome::Done(StepResult::Cloud(done));
    for _ in 0..2 {
        store.record_step(&step(2), &done, NOW + 6000).await.unwrap();
    }
    store.end_deployment(1, None, NOW + 9000).await.unwrap();
    let runs = store.deployment_runs(1).await.unwrap();
    let row = |attempt, started_at, ended_at, failure: Option<&str>| {
        let failure = failure.map(str::to_owned);
        RunRow { attempt, started_at, ended_at: Some(ended_at), failure }
    };
    assert_eq!(runs, [row(1, NOW, NOW + 4000, Some("lost")), row(2, NOW + 5000, NOW + 9000, None)]);
    let events = store.events_since(Scope::All, start, 100).await.unwrap();
    let short = digest.short();
    let texts: Vec<&str> = events.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            &format!("deployment 1, run 1 began, plan {short}"),
            "controller-0: Do a begins",
            "controller-0 is lost: its agent is silent",
            "deployment 1, run 1 failed after 4 s: lost",
            &format!("deployment 1, run 2 began, plan {short}"),
            "controller-0: Do a: done, new (2 s)",
            "deployment 1, run 2 is done (4 s)",
        ]
    );
    let runs: Vec<_> = events.iter().map(|e| e.run.unwrap().attempt).collect();
    assert_eq!(runs, [1, 1, 1, 1, 2, 2, 2]);
    let of_node = store.events_since(Scope::Node(node.id), start, 100).await.unwrap();
    assert_eq!(of_node.len(), 3);
    let of_deployment = store.events_since(Scope::Deployment(1), 0, 100).await.unwrap();
    assert_eq!(of_deployment, events);
    assert!(store.events_since(Scope::Deployment(2), 0, 100).await.unwrap().is_empty());
    let parts: Happening = serde_json::from_value(events[6].data.clone().unwrap()).unwrap();
    let ended = RunNews::RunEnded { deployment: 1, run: 2, took_ms: 4000 };
    assert_eq!(parts, Happening::from(ended));
}

#[tokio::test]
async fn an_earlier_version_s_events_and_runs_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let pool = db::of_earlier_version(&file(&dir), 6).await;
    for statement in [
        "INSERT INTO events (at_ms, kind, severity, text, data)
         VALUES (5, 'state', 'info', 'enroll → verifying', '{\"from\":\"enroll\"}')",
        "INSERT INTO deployments (digest, plan, created_at, attempt, started_at, ended_at, failure)
         VALUES ('x', '{}', 1, 4, 2, 3, 'lost')",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    let events = all(&store).await;
    assert_eq!((events.len(), events[0].times, events[0].cause), (1, 1, None));
    assert_eq!(events[0].data.as_ref().unwrap()["from"], "enroll");
    let runs = store.deployment_runs(1).await.unwrap();
    assert_eq!((runs.len(), runs[0].attempt, runs[0].ended_at), (1, 4, Some(3)));
}
