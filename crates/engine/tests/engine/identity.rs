//! Who may say hello, and what happens to those who may not.

use undercloud_model::{
    MacAddr, Secret,
    agent::{Hello, PROTOCOL_VERSION},
    node::{BootProgress, FailureKind, Phase, ProvisionState as S, Verb},
};
use undercloud_store::{AgentError, BootPlan, Denied, EventKind, Seen, Severity};

use crate::{
    lab::{Lab, MAC},
    rack::Fault,
};

fn hello(plan: &BootPlan, boot_id: &str) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        node: plan.node,
        secret: plan.secret.clone(),
        boot_id: boot_id.into(),
        agent_version: "0".into(),
    }
}

/// A lab whose machine was switched on for its inspection and whose agent is us.
async fn in_window() -> (Lab, BootPlan) {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    lab.rack.set_fault(Some(Fault::NeverBoots(BootProgress::Silent)));
    lab.ask(Verb::Inspect).await;
    lab.until(|n| n.phase == Phase::AgentBoots).await;
    let mac: MacAddr = MAC.parse().unwrap();
    let plan = lab.store.boot_target(mac, lab.clock.now()).await.unwrap().unwrap();
    (lab, plan)
}

async fn denied(lab: &Lab, hello: &Hello) -> Denied {
    match lab.store.agent_hello(hello, lab.clock.now()).await {
        Err(AgentError::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_secret_is_good_for_one_boot() {
    let (lab, plan) = in_window().await;
    let first = lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.unwrap();
    let again = lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.unwrap();
    // The answer to the first was lost: its key is void, the second's is good.
    assert!(lab.store.authenticate(&first.session_key).await.unwrap().is_none());
    assert!(lab.store.authenticate(&again.session_key).await.unwrap().is_some());
    let mac = MAC.parse().unwrap();
    assert!(lab.store.boot_target(mac, lab.clock.now()).await.unwrap().is_none());

    assert_eq!(denied(&lab, &hello(&plan, "b")).await, Denied::UsedTwice);
    assert!(lab.store.authenticate(&again.session_key).await.unwrap().is_none());
    let node = lab.until(|n| !n.is_busy()).await;
    let error = node.last_error.unwrap();
    assert_eq!((node.state, error.kind), (S::InspectFailed, FailureKind::SecretReused));
    assert!(error.text.contains("boot secret was used twice"), "{}", error.text);
    let timeline = lab.timeline().await;
    let security: Vec<_> = timeline.iter().filter(|e| e.kind == EventKind::Security).collect();
    assert_eq!(security.len(), 2, "{security:?}");
    assert!(security.iter().all(|e| e.severity == Severity::Error && e.node == Some(node.id)));
    lab.rack.set_fault(None);
    assert_eq!(lab.install().await.unwrap().state, S::Active);
}

#[tokio::test]
async fn a_secret_is_good_in_its_window_only() {
    let (lab, plan) = in_window().await;
    lab.do_it(Verb::Abort).await;
    assert_eq!(denied(&lab, &hello(&plan, "a")).await, Denied::WindowOver);
    let node = lab.node().await;
    assert_eq!(node.last_error.unwrap().kind, FailureKind::Aborted, "an old secret fails nothing");

    // Nor does one that was used, once its window is closed.
    let (lab, plan) = in_window().await;
    lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.unwrap();
    lab.do_it(Verb::Abort).await;
    lab.rack.set_fault(None);
    assert_eq!(lab.install().await.unwrap().state, S::Active);
    assert_eq!(denied(&lab, &hello(&plan, "b")).await, Denied::WindowOver);
    let node = lab.node().await;
    assert_eq!(
        (node.state, node.last_error, lab.store.pending(node.id).await.unwrap()),
        (S::Active, None, 0)
    );
    let security =
        lab.timeline().await.into_iter().rfind(|e| e.kind == EventKind::Security).unwrap();
    assert!(security.text.contains("window is over"), "{}", security.text);

    let (lab, plan) = in_window().await;
    lab.clock.advance(30 * 60_000);
    assert_eq!(denied(&lab, &hello(&plan, "a")).await, Denied::WindowOver);
}

/// The machine asks for its boot script.
async fn asks_for_its_boot(lab: &Lab) {
    let mac: MacAddr = MAC.parse().unwrap();
    let now = lab.clock.now();
    if lab.store.boot_target(mac, now).await.unwrap().is_none() {
        let seen = Seen { said: "nothing to boot", is_warning: false };
        lab.store.boot_refused(mac, seen, now).await.unwrap();
    }
}

#[tokio::test]
async fn a_theft_that_comes_first_is_noticed_when_the_machine_comes() {
    let (lab, plan) = in_window().await;
    asks_for_its_boot(&lab).await;
    // Somebody else is quicker with the secret.
    let thief = lab.store.agent_hello(&hello(&plan, "thief"), lab.clock.now()).await.unwrap();
    assert_eq!(lab.until(|n| n.phase != Phase::AgentBoots).await.state, S::InspectWait);
    // The machine comes, and is given nothing.
    asks_for_its_boot(&lab).await;
    assert!(lab.store.authenticate(&thief.session_key).await.unwrap().is_none());
    let node = lab.until(|n| !n.is_busy()).await;
    let error = node.last_error.unwrap();
    assert_eq!((node.state, error.kind), (S::InspectFailed, FailureKind::SecretReused));
    assert!(error.text.contains("restarted by itself"), "{}", error.text);
    // Once more, with nothing to lose: it is no switch either.
    asks_for_its_boot(&lab).await;
    assert_eq!(lab.store.pending(node.id).await.unwrap(), 0);
    lab.rack.set_fault(None);
    assert_eq!(lab.install().await.unwrap().state, S::Active);
    asks_for_its_boot(&lab).await;
    let node = lab.node().await;
    assert_eq!((node.state, lab.store.pending(node.id).await.unwrap()), (S::Active, 0));
}

#[tokio::test]
async fn a_guess_is_denied_and_fails_nothing() {
    let (lab, plan) = in_window().await;
    let guess = Hello { secret: Secret::new("0".repeat(64)), ..hello(&plan, "a") };
    assert_eq!(denied(&lab, &guess).await, Denied::UnknownSecret);
    let other = Hello {
        node: undercloud_model::NodeId::from_uuid(uuid::Uuid::from_u128(1)),
        ..hello(&plan, "a")
    };
    assert_eq!(denied(&lab, &other).await, Denied::OtherNode);
    assert_eq!(lab.node().await.state, S::InspectWait);
    assert!(lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.is_ok());
    assert!(lab.store.authenticate(&Secret::new("")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_window_that_ended_while_the_daemon_was_away_is_open_a_little_longer() {
    let (mut lab, plan) = in_window().await;
    lab.clock.advance(30 * 60_000);
    lab.restart().await;
    lab.clock.advance(60_000);
    assert!(lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.is_ok());
    assert_eq!(lab.node().await.last_error, None);
}

#[tokio::test]
async fn secrets_are_hashed_once_they_are_used() {
    let (lab, plan) = in_window().await;
    let welcome = lab.store.agent_hello(&hello(&plan, "a"), lab.clock.now()).await.unwrap();
    let path = lab.store.path().to_owned();
    lab.store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(std::fs::read(format!("{path}-wal")).unwrap_or_default());
    let key = welcome.session_key.expose().as_bytes();
    assert!(!bytes.windows(key.len()).any(|w| w == key), "the session key is in the file");
}
