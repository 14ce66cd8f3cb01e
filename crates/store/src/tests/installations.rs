//! Installations: written with what belongs to them, once; and those that cannot be read.

use serde_json::{Value, json};
use undercloud_model::{
    Digest, NodeName,
    installation::{Event as Happened, Installation, Order, State, Until},
};

use super::*;

fn order(description: &str) -> Order {
    Order {
        description: description.into(),
        machines: vec!["controller-0".parse().unwrap()],
        image: "overcloud-full".into(),
        ssh_keys: Vec::new(),
        until: Until::Verified,
    }
}

const DIGEST: &Digest = &Digest::from_bytes([7; 32]);

async fn known(store: &Store) -> Installation {
    match store.newest_installation().await.unwrap() {
        Some(Kept::Known(installation)) => *installation,
        other => panic!("{other:?}"),
    }
}

async fn texts(store: &Store) -> Vec<String> {
    let events = store.events_since(Scope::All, 0, 1000).await.unwrap();
    events.into_iter().map(|event| event.text).collect()
}

/// What a daemon does, from wherever the one before it was: each of these is one write.
async fn carry_out(store: &Store) -> Result<Installation, StoreError> {
    let name: NodeName = "controller-0".parse().unwrap();
    let mut now = store.ask_for_installation(&order("a"), NOW).await?;
    let nothing = WithIt::Nothing;
    loop {
        now = match now.state {
            State::Inspecting => {
                if now.asked.is_empty() {
                    let node = store.node(&name).await?;
                    let asked = store.installation_asks(&now, (node.id, &name), Verb::Manage, NOW);
                    now = asked.await?.1;
                }
                let happened = Happened::Inspected { needs_approval: None };
                store.turn_installation(&now, happened, nothing, NOW).await?
            }
            State::Machines => {
                store.turn_installation(&now, Happened::MachinesActive, nothing, NOW).await?
            }
            State::Installing => {
                let plan = json!({ "schema": 1 });
                let begun = store.begin_installation_run(&now, &plan, DIGEST, "o/", NOW);
                let now = begun.await?.1;
                let with = WithIt::EndOfRun(None);
                store.turn_installation(&now, Happened::RunDone, with, NOW).await?
            }
            State::Verifying => {
                let report = json!({ "passed": true });
                let with = WithIt::Verification(&report);
                store.turn_installation(&now, Happened::ChecksPassed, with, NOW).await?
            }
            _ => return Ok(now),
        };
    }
}

#[tokio::test]
async fn a_daemon_that_dies_at_any_write_goes_on_and_repeats_nothing() {
    let mut whole = None;
    for at in 1..40 {
        for halt in [Halt::Before(at), Halt::After(at)] {
            let db = db().await;
            db.store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap();
            db.store.close().await;
            let open = Open { halt: Some(halt), ..Open::at(NOW) };
            let store = Store::open(file(&db.dir), open).await.unwrap();
            let died = carry_out(&store).await.is_err();
            store.close().await;
            let store = Store::open(file(&db.dir), Open::at(NOW)).await.unwrap();
            if died {
                let resumed = store.resume_installation(NOW).await.unwrap();
                if resumed.is_some() || store.newest_installation().await.unwrap().is_none() {
                    carry_out(&store).await.unwrap();
                }
            }
            assert_eq!(known(&store).await.state, State::Verified, "{halt:?}");
            let row = store.deployment::<Value>(1).await.unwrap().unwrap();
            let verified = row.verification == Some(json!({ "passed": true }));
            assert_eq!((row.attempt, row.is_complete(), verified), (1, true, true), "{halt:?}");
            let count =
                |what: &str, all: &[String]| all.iter().filter(|t| t.contains(what)).count();
            let texts = texts(&store).await;
            assert_eq!(count("asked for: manage", &texts), 1, "{halt:?}");
            assert_eq!(count("run 1 began", &texts), 1, "{halt:?}");
            assert_eq!(count("run 1 is done", &texts), 1, "{halt:?}");
            assert_eq!(count("installation 1: the cloud works", &texts), 1, "{halt:?}");
            if !died {
                whole = Some(at);
            }
        }
        if whole.is_some() {
            break;
        }
    }
    assert!(whole.is_some_and(|at| at > 6), "no run came to its end, or there was nothing to kill");
}

#[tokio::test]
async fn the_same_is_asked_for_once_and_another_takes_its_place() {
    let db = db().await;
    let first = db.store.ask_for_installation(&order("a"), NOW).await.unwrap();
    let again = db.store.ask_for_installation(&order("a"), NOW + 1).await.unwrap();
    assert_eq!((first.number, again.number, again.since), (1, 1, NOW));
    let plan = json!({});
    let begun = db.store.begin_installation_run(&again, &plan, DIGEST, "o/", NOW);
    begun.await.unwrap();
    let other = db.store.ask_for_installation(&order("b"), NOW + 2).await.unwrap();
    assert_eq!((other.number, known(&db.store).await.number), (2, 2));
    let row = db.store.deployment::<Value>(1).await.unwrap().unwrap();
    assert_eq!(row.failure.as_deref(), Some("another installation was asked for"));
    // Whoever still holds the one before cannot write it.
    let late = db.store.turn_installation(&again, Happened::TimeOver, WithIt::Nothing, NOW);
    assert!(matches!(late.await, Err(StoreError::InstallationMoved(1))));
}

#[tokio::test]
async fn an_installation_of_another_version_is_in_nobody_s_way() {
    let db = db().await;
    let asked = db.store.ask_for_installation(&order("a"), NOW).await.unwrap();
    db.store.begin_installation_run(&asked, &json!({}), DIGEST, "o/", NOW).await.unwrap();
    db.store.close().await;
    let pool = crate::db::of_earlier_version(&file(&db.dir), 10).await;
    sqlx::query("UPDATE installations SET schema = 99, body = 'x'").execute(&pool).await.unwrap();
    pool.close().await;
    let store = Store::open(file(&db.dir), Open::at(NOW)).await.unwrap();
    let newest = store.newest_installation().await.unwrap();
    assert_eq!(newest, Some(Kept::Other { number: 1, is_open: true }));
    assert_eq!(store.resume_installation(NOW).await.unwrap(), None);
    let row = store.deployment::<Value>(1).await.unwrap().unwrap();
    assert!(row.failure.unwrap().contains("another version"));
    let next = store.ask_for_installation(&order("a"), NOW).await.unwrap();
    assert_eq!((next.number, next.state), (2, State::Inspecting));
}

#[tokio::test]
async fn a_deadline_moves_with_the_clock_and_a_waiting_one_waits_on() {
    let db = db().await;
    let asked = db.store.ask_for_installation(&order("a"), NOW).await.unwrap();
    db.store.clock_was_set(-3_600_000, NOW - 3_600_000, |_| {}).await.unwrap();
    let moved = known(&db.store).await;
    assert_eq!(moved.deadline, asked.deadline.map(|at| at - 3_600_000));
    let happened = Happened::Inspected { needs_approval: Some(*DIGEST) };
    let turned = db.store.turn_installation(&moved, happened, WithIt::Nothing, NOW).await.unwrap();
    assert_eq!(turned.deadline, None);
    let resumed = db.store.resume_installation(NOW).await.unwrap().unwrap();
    assert_eq!(resumed.state, State::WaitsForApproval { plan: *DIGEST });
    let again = db.store.ask_for_installation(&order("a"), NOW).await.unwrap();
    assert_eq!((again.number, again.state), (1, State::Inspecting));
    assert!(texts(&db.store).await.iter().any(|text| text.contains("--approve sha256:0707")));
}
