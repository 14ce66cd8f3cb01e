//! The machines' agents: the ramdisk's and the installed system's. They behave as the real ones, and
//! worse where their machine says so.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::time::{Instant, sleep, sleep_until};
use undercloud_model::{
    NodeId, PowerState, Secret, Signature, StepId,
    agent::{
        Hello, Outcome, PROTOCOL_VERSION, Poll, Report, Step, StepResult, WipeReceipt, WriteReceipt,
    },
};
use undercloud_store::{AgentError, Store};
use uuid::Uuid;

use crate::{
    machine::{AgentIs, Machine},
    world::World,
};

/// Between two tries of an agent whose daemon is away.
const AGAIN: Duration = Duration::from_secs(5);
/// For so long the daemon holds its answer: longer than the real one, for each call is a write.
const POLL_HOLD: Duration = Duration::from_secs(45);
/// Between two calls of an agent at work.
const BUSY_CALLS_EVERY: Duration = Duration::from_secs(50);
/// Between two calls of a system that is installed.
const CALLS_EVERY: Duration = Duration::from_secs(240);

fn poll(boot_id: &str) -> Poll {
    Poll {
        protocol: PROTOCOL_VERSION,
        boot_id: boot_id.to_owned(),
        busy: Vec::new(),
        ssh_host_key: None,
        health: None,
    }
}

/// Firmware, then the agent.
pub(crate) async fn ramdisk(world: Arc<World>, machine: Arc<Machine>, boot_id: String) {
    let boots_s = if machine.agent == AgentIs::Late { 60..300 } else { 10..60 };
    sleep(Duration::from_secs(machine.random.within(boots_s))).await;
    if machine.agent == AgentIs::Silent {
        return;
    }
    machine.may_have_changed();
    let (node, secret) = fetch_identity(&world, &machine).await;
    let Some(key) = hello(&world, node, secret, &boot_id).await else { return };
    let mut known: HashMap<StepId, Outcome> = HashMap::new();
    loop {
        let store = world.store().await;
        let Ok(found) = store.authenticate(&key).await else {
            sleep(AGAIN).await;
            continue;
        };
        let Some(principal) = found else { return };
        let polled = store.agent_poll(&principal, &poll(&boot_id), POLL_HOLD, world.now()).await;
        let Ok(reply) = polled else {
            sleep(AGAIN).await;
            continue;
        };
        let Some(order) = reply.order else { continue };
        let outcome = match known.get(&order.id) {
            Some(outcome) => outcome.clone(),
            None => {
                begin(&machine, order.id, &order.step);
                let takes_s = if machine.agent == AgentIs::Late { 30..200 } else { 1..40 };
                let takes = Duration::from_secs(machine.random.within(takes_s));
                at_work(&world, &principal, (&boot_id, order.id), takes).await;
                end(&world, &machine, order.id, order.step).await
            }
        };
        known.insert(order.id, outcome.clone());
        let report = |id, outcome| Report { id, outcome, log: Vec::new() };
        let mut reports = vec![report(order.id, outcome.clone())];
        match machine.agent {
            AgentIs::Repeating => {
                // All that it ever did, too.
                reports.push(report(order.id, outcome));
                reports.extend(known.iter().map(|(id, outcome)| report(*id, outcome.clone())));
            }
            AgentIs::Confused => {
                let other = StepId::from_uuid(Uuid::from_u128(7));
                reports.insert(0, report(other, outcome));
            }
            AgentIs::Well | AgentIs::Late | AgentIs::Silent | AgentIs::Dying => {}
        }
        for report in reports {
            if store.agent_report(&principal, &report, world.now()).await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }
}

async fn fetch_identity(world: &World, machine: &Machine) -> (NodeId, Secret) {
    loop {
        let store = world.store().await;
        if let Ok(Some(plan)) = store.boot_target(machine.mac, world.now()).await {
            return (plan.node, plan.secret);
        }
        sleep(AGAIN).await;
    }
}

async fn hello(world: &World, node: NodeId, secret: Secret, boot_id: &str) -> Option<Secret> {
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        node,
        secret,
        boot_id: boot_id.to_owned(),
        agent_version: "0".into(),
    };
    loop {
        match world.store().await.agent_hello(&hello, world.now()).await {
            Ok(welcome) => return Some(welcome.session_key),
            Err(AgentError::Denied(_)) => return None,
            Err(AgentError::Store(_)) => sleep(AGAIN).await,
        }
    }
}

/// It calls while it works: that it is there is its session's business, not its step's.
async fn at_work(
    world: &World,
    principal: &undercloud_store::Principal,
    (boot_id, order): (&str, StepId),
    takes: Duration,
) {
    let end = Instant::now() + takes;
    while Instant::now() + BUSY_CALLS_EVERY < end {
        sleep(BUSY_CALLS_EVERY).await;
        let busy = Poll { busy: vec![order], ..poll(boot_id) };
        // While the daemon is away there is nobody to tell that to.
        let _ = world.store().await.agent_poll(principal, &busy, Duration::ZERO, world.now()).await;
    }
    sleep_until(end).await;
}

fn begin(machine: &Machine, id: StepId, step: &Step) {
    let what = if matches!(step, Step::WipeDisks { .. }) { "wipe" } else { "write" };
    step.erases().iter().for_each(|disk| machine.is_to_erase(disk, id, what));
}

async fn end(world: &Arc<World>, machine: &Arc<Machine>, id: StepId, step: Step) -> Outcome {
    if machine.agent == AgentIs::Dying && machine.random.chance(40) {
        if machine.random.chance(50) {
            machine.switch(world, PowerState::Off);
        }
        return std::future::pending().await;
    }
    match step {
        Step::Inspect => Outcome::Done(StepResult::Inspect(machine.inventory())),
        Step::WipeDisks { disks } => {
            let receipt = |disk| {
                machine.erase(&disk, id, None);
                WipeReceipt { disk, zeroed_bytes: 2 << 20 }
            };
            let disks = disks.into_iter().map(receipt).collect();
            Outcome::Done(StepResult::WipeDisks { disks })
        }
        Step::WriteImage { image, disk, config_drive } => {
            machine.erase(&disk, id, Some(Signature::Gpt));
            let drive = BASE64.decode(config_drive.expose()).unwrap();
            machine.state().installed_key = Some(key_on(&drive));
            Outcome::Done(StepResult::WriteImage(WriteReceipt {
                disk,
                disk_digest: image.disk_digest,
                written_bytes: image.disk_bytes,
                took_ms: 1,
            }))
        }
        Step::Cloud { .. } => unreachable!("the engine orders nothing of the cloud"),
    }
}

/// The system on the disk, if one was written.
pub(crate) async fn installed(world: Arc<World>, machine: Arc<Machine>, boot_id: String) {
    sleep(Duration::from_secs(machine.random.within(10..90))).await;
    let Some(key) = machine.state().installed_key.clone().map(Secret::new) else { return };
    loop {
        let store = world.store().await;
        if let Ok(Some(principal)) = store.authenticate(&key).await {
            call(&store, &principal, &boot_id, &world).await;
        }
        sleep(CALLS_EVERY).await;
    }
}

async fn call(
    store: &Store,
    principal: &undercloud_store::Principal,
    boot_id: &str,
    world: &World,
) {
    // While the daemon is away there is nobody to tell that to.
    let _ = store.agent_poll(principal, &poll(boot_id), POLL_HOLD, world.now()).await;
}

/// The machine's key in the config drive's agent file, which lies there in one piece.
fn key_on(drive: &[u8]) -> String {
    let mark = b"\"key\":\"";
    let at = drive.windows(mark.len()).position(|w| w == mark).expect("a key on the drive");
    String::from_utf8(drive[at + mark.len()..][..64].to_vec()).unwrap()
}
