//! Every state, in each phase it can be in, with every event. `table.txt` lists what changes
//! anything; every pair that it does not list must stay. After a deliberate change, read the
//! difference that the test prints and copy the new table.

use super::*;
use crate::{
    BootDevice, PowerAction, PowerState,
    agent::{Outcome, StepFailure, StepFailureKind},
};

const TABLE: &str = include_str!("table.txt");
/// The states that boot or leave a ramdisk, of a node that boots by virtual media.
const MEDIA_TABLE: &str = include_str!("table_media.txt");

fn phases(state: ProvisionState, interface: BootInterface) -> Vec<Phase> {
    use ProvisionState as S;
    let ordered = |work: Work| {
        let ordering = Phase::Ordering { work: work.clone() };
        [ordering, Phase::Ordered { work, step: step_id() }]
    };
    let mut boot = vec![Phase::NetworkBoot, Phase::SwitchOff, Phase::SwitchOn];
    let mut boots = vec![Phase::AgentBoots];
    if interface == BootInterface::RedfishVirtualMedia {
        boot.push(Phase::InsertMedia);
        boots.push(Phase::EjectMedia);
    }
    match state {
        S::Enroll
        | S::InspectFailed
        | S::CleanFailed
        | S::Manageable
        | S::Available
        | S::DeployFailed
        | S::Active
        | S::Error => vec![
            Phase::Idle,
            Phase::Errand { errand: Errand::SwitchOn },
            Phase::Errand { errand: Errand::SwitchOff },
            Phase::Errand { errand: Errand::SoftOff },
            Phase::Errand { errand: Errand::CycleOff },
            Phase::Errand { errand: Errand::CycleOn },
            Phase::Errand {
                errand: Errand::BootDevice { device: BootDevice::Pxe, persistent: false },
            },
        ],
        S::Verifying => vec![Phase::ReadPower],
        S::Inspecting | S::Cleaning => [boot, vec![Phase::Rest]].concat(),
        S::Deleting => vec![Phase::SwitchOff],
        S::Deploying => [boot, vec![Phase::DiskBoot, Phase::RestartOff, Phase::RestartOn]].concat(),
        S::InspectWait => [boots, ordered(Work::Inspect).to_vec()].concat(),
        S::CleanWait => [
            boots,
            ordered(Work::Inspect).to_vec(),
            ordered(Work::Wipe { disks: vec![disk()] }).to_vec(),
        ]
        .concat(),
        S::WaitCallBack => [
            boots,
            ordered(Work::Inspect).to_vec(),
            ordered(Work::Write { disk: disk() }).to_vec(),
            vec![Phase::InstalledBoots],
        ]
        .concat(),
    }
}

/// Does not compile when an event is added and not listed below.
fn is_listed(event: &Event) {
    match event {
        Event::Verb { request } => match request {
            Verb::Manage
            | Verb::Inspect
            | Verb::Provide { .. }
            | Verb::Deploy(_)
            | Verb::Undeploy
            | Verb::Abort
            | Verb::Power { .. }
            | Verb::BootDevice { .. } => {}
        },
        Event::ActionDone { done } => match done {
            Done::Power { .. } | Done::BootDevice | Done::Media | Done::Ordered { .. } => {}
        },
        Event::ActionFailed { .. }
        | Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::PowerObserved { .. }
        | Event::SecretReused
        | Event::RamdiskFetched
        | Event::Tick => {}
    }
}

fn events(phase: &Phase) -> Vec<(String, Event)> {
    let work = match phase {
        Phase::Ordered { work, .. } => work.clone(),
        _ => Work::Inspect,
    };
    let verbs = [
        Verb::Manage,
        Verb::Inspect,
        Verb::Provide { wipe: WipeScope::default() },
        Verb::Deploy(Box::new(request())),
        Verb::Undeploy,
        Verb::Abort,
        Verb::Power { action: PowerAction::On },
        Verb::Power { action: PowerAction::Off },
        Verb::Power { action: PowerAction::SoftOff },
        Verb::Power { action: PowerAction::Cycle },
        Verb::Power { action: PowerAction::Reset },
        Verb::BootDevice { device: BootDevice::Pxe, persistent: false },
    ];
    let mut events: Vec<(String, Event)> =
        verbs.into_iter().map(|v| (format!("asked {v}"), Event::Verb { request: v })).collect();
    let reported = |step, outcome| Event::StepReported { step, outcome: Box::new(outcome) };
    let failed = StepFailure::new(StepFailureKind::DiskIo, "bad sector");
    let other = StepId::from_uuid(uuid::Uuid::from_u128(43));
    let wrong = match work {
        Work::Inspect => Work::Wipe { disks: vec![disk()] },
        Work::Wipe { .. } | Work::Write { .. } => Work::Inspect,
    };
    let done = |done| Event::ActionDone { done };
    let more = [
        ("done power on", done(Done::Power { power: PowerState::On })),
        ("done power off", done(Done::Power { power: PowerState::Off })),
        ("done boot device", done(Done::BootDevice)),
        ("done media", done(Done::Media)),
        ("done ordered", done(Done::Ordered { step: step_id() })),
        (
            "failed action",
            Event::ActionFailed { failure: Failure::new(FailureKind::BmcUnreachable, "") },
        ),
        ("ramdisk fetched", Event::RamdiskFetched),
        ("hello", Event::AgentHello),
        ("report done", reported(step_id(), Outcome::Done(result_of(&work)))),
        ("report failed", reported(step_id(), Outcome::Failed(failed))),
        ("report of another kind", reported(step_id(), Outcome::Done(result_of(&wrong)))),
        ("report of another step", reported(other, Outcome::Done(result_of(&work)))),
        ("installed called", Event::InstalledCalled),
        ("seen on", Event::PowerObserved { power: PowerState::On }),
        ("seen off", Event::PowerObserved { power: PowerState::Off }),
        ("secret reused", Event::SecretReused),
        ("time passes", Event::Tick),
        ("time is over", Event::Tick),
    ];
    events.extend(more.map(|(name, event)| (name.to_owned(), event)));
    events
}

/// `ordered write`, `errand cycle_off`: as the database spells it.
fn name(phase: &Phase) -> String {
    let json = serde_json::to_value(phase).unwrap();
    let part = |value: &serde_json::Value| match value {
        serde_json::Value::String(word) => word.clone(),
        other => other.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let more = match phase {
        Phase::Ordering { .. } | Phase::Ordered { .. } => part(&json["work"]["work"]),
        Phase::Errand { .. } => part(&json["errand"]),
        _ => return part(&json["phase"]),
    };
    format!("{} {more}", part(&json["phase"]))
}

fn outcome(node: &Node, decision: &Step, now: UnixMillis) -> Option<String> {
    let (next, why) = match decision {
        Step::Stay(_) => return None,
        Step::Go(next) => ((**next).clone(), String::new()),
        Step::Fail(failure) => (fail(node, failure, now), format!("FAIL {:?} ", failure.kind)),
    };
    let actions: Vec<_> = next.actions.iter().map(Action::name).collect();
    let effects: Vec<_> = next
        .effects
        .iter()
        .map(|e| match e {
            Effect::OpenBootWindow { .. } => "open window",
            Effect::EndRamdisk => "end ramdisk",
            Effect::RevokeMachineKey => "revoke key",
            Effect::DisksAreEmpty => "disks are empty",
            Effect::EndApprovals => "end approvals",
        })
        .collect();
    let state = next.node.state;
    let place = match next.node.phase {
        Phase::Idle => format!("{state}"),
        _ => format!("{state} [{}]", name(&next.node.phase)),
    };
    let mut text = format!("{why}{place}");
    for part in [actions, effects].into_iter().filter(|p| !p.is_empty()) {
        text += &format!(" + {}", part.join(", "));
    }
    Some(text)
}

fn computed(interface: BootInterface, states: &[ProvisionState]) -> String {
    let slow = Policy { fast_track: false, ..Policy::default() };
    let mut table = String::new();
    for state in states.iter().copied() {
        for phase in phases(state, interface) {
            let mut node =
                Node { state, phase: phase.clone(), boot_interface: interface, ..node() };
            node.deadline = (phase != Phase::Idle).then_some(NOW + 1000);
            if state >= ProvisionState::Deploying {
                let instance = Instance { request: request(), written: None, reported_at: None };
                node.instance = Some(instance);
            }
            for (what, event) in events(&phase) {
                is_listed(&event);
                let now = if what == "time is over" { NOW + 1000 } else { NOW };
                let ctx = Context { now, ramdisk_seen_at: Some(NOW), ..ctx(&slow) };
                if let Some(text) = outcome(&node, &step(&node, &event, &ctx), now) {
                    table += &format!("{state} [{}] | {what} | {text}\n", name(&phase));
                }
            }
        }
    }
    table
}

#[test]
fn every_state_with_every_event() {
    compare(&computed(BootInterface::Ipxe, &ProvisionState::ALL), TABLE);
}

#[test]
fn every_state_that_a_cd_has_a_part_in() {
    use ProvisionState as S;
    let states = [
        S::Inspecting,
        S::InspectWait,
        S::Cleaning,
        S::CleanWait,
        S::Deploying,
        S::WaitCallBack,
        S::Deleting,
    ];
    compare(&computed(BootInterface::RedfishVirtualMedia, &states), MEDIA_TABLE);
}

fn compare(computed: &str, table: &str) {
    if computed != table {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (is, should) = (lines(computed), lines(table));
        for line in should.iter().filter(|l| !is.contains(l)) {
            println!("- {line}");
        }
        for line in is.iter().filter(|l| !should.contains(l)) {
            println!("+ {line}");
        }
        println!("the new table:\n{computed}the end");
        panic!("the transitions are not those of table.txt");
    }
}

#[test]
fn a_ramdisk_that_calls_is_used_again() {
    let policy = Policy::default();
    let verbs = [
        (ProvisionState::Manageable, Verb::Inspect, ProvisionState::InspectWait),
        (
            ProvisionState::Manageable,
            Verb::Provide { wipe: WipeScope::default() },
            ProvisionState::CleanWait,
        ),
        (
            ProvisionState::Available,
            Verb::Deploy(Box::new(request())),
            ProvisionState::WaitCallBack,
        ),
    ];
    for (state, verb, wait) in verbs {
        let node = Node { state, ..node() };
        let event = Event::Verb { request: verb };
        let fresh = Context { ramdisk_seen_at: Some(NOW - 1000), ..ctx(&policy) };
        let Step::Go(next) = step(&node, &event, &fresh) else { panic!("{state}") };
        assert_eq!(next.node.state, wait);
        assert!(matches!(next.actions[..], [Action::Order { .. }]));
        let stale = Context { ramdisk_seen_at: Some(NOW - 61_000), ..ctx(&policy) };
        let Step::Go(next) = step(&node, &event, &stale) else { panic!("{state}") };
        assert!(matches!(next.actions[..], [Action::SetBootDevice { .. }]), "{state}");
        assert!(next.effects.contains(&Effect::EndRamdisk));
    }
}

#[test]
fn after_a_failure_the_ramdisk_is_never_used_again() {
    let policy = Policy::default();
    let node = Node { state: ProvisionState::InspectFailed, ..node() };
    let fresh = Context { ramdisk_seen_at: Some(NOW), ..ctx(&policy) };
    let event = Event::Verb { request: Verb::Inspect };
    let Step::Go(next) = step(&node, &event, &fresh) else { panic!() };
    assert_eq!(next.node.state, ProvisionState::Inspecting);
}

#[test]
fn a_written_disk_is_not_written_again_for_the_same_request() {
    let policy = Policy::default();
    let instance = Instance { request: request(), written: Some(receipt()), reported_at: None };
    let state = ProvisionState::DeployFailed;
    let node = Node { state, instance: Some(instance), ..node() };
    let again = |request: DeployRequest| {
        let event = Event::Verb { request: Verb::Deploy(Box::new(request)) };
        match step(&node, &event, &ctx(&policy)) {
            Step::Go(next) => next.node.phase,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(again(request()), Phase::DiskBoot);
    assert_eq!(
        again(DeployRequest { hostname: Some("x".into()), ..request() }),
        Phase::NetworkBoot
    );
}

#[test]
fn the_disk_is_chosen_from_the_fresh_inventory() {
    let policy = Policy::default();
    let phase = Phase::Ordered { work: Work::Inspect, step: step_id() };
    let instance = Instance { request: request(), written: None, reported_at: None };
    let state = ProvisionState::WaitCallBack;
    let mut node = Node { state, phase, instance: Some(instance), ..node() };
    let mut found = inventory();
    let report = |found: &Inventory| Event::StepReported {
        step: step_id(),
        outcome: Box::new(crate::agent::Outcome::Done(StepResult::Inspect(found.clone()))),
    };
    let Step::Go(next) = step(&node, &report(&found), &ctx(&policy)) else { panic!() };
    assert_eq!(next.actions, [Action::Order { work: Work::Write { disk: disk() } }]);
    found.disks[0].size_bytes = 5 << 30;
    let Step::Fail(failure) = step(&node, &report(&found), &ctx(&policy)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::DiskTooSmall);
    node.root_device.serial = Some("disk-9".into());
    let Step::Fail(failure) = step(&node, &report(&found), &ctx(&policy)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::NoDiskMatches);
    found.cpu.count = 0;
    let Step::Fail(failure) = step(&node, &report(&found), &ctx(&policy)) else { panic!() };
    assert_eq!(failure.kind, FailureKind::AgentConfused);
}

#[test]
fn a_receipt_must_be_of_the_image_and_the_disk() {
    let policy = Policy::default();
    let phase = Phase::Ordered { work: Work::Write { disk: disk() }, step: step_id() };
    let instance = Instance { request: request(), written: None, reported_at: None };
    let state = ProvisionState::WaitCallBack;
    let node = Node { state, phase, instance: Some(instance), ..node() };
    let judge = |receipt| {
        let outcome = crate::agent::Outcome::Done(StepResult::WriteImage(receipt));
        let event = Event::StepReported { step: step_id(), outcome: Box::new(outcome) };
        match step(&node, &event, &ctx(&policy)) {
            Step::Fail(failure) => Some(failure.kind),
            Step::Go(_) => None,
            Step::Stay(why) => panic!("{why}"),
        }
    };
    assert_eq!(judge(receipt()), None);
    let other = WriteReceipt { disk_digest: Digest::from_bytes([9; 32]), ..receipt() };
    assert_eq!(judge(other), Some(FailureKind::WrongDigest));
    let mut other = receipt();
    other.disk.serial = Some("disk-1".into());
    assert_eq!(judge(other), Some(FailureKind::AgentConfused));
}

#[test]
fn without_a_serial_number_a_receipt_is_known_by_name_and_size() {
    let policy = Policy::default();
    let named = DiskIdentity { serial: None, ..disk() };
    let phase = Phase::Ordered { work: Work::Write { disk: named.clone() }, step: step_id() };
    let instance = Instance { request: request(), written: None, reported_at: None };
    let state = ProvisionState::WaitCallBack;
    let node = Node { state, phase, instance: Some(instance), ..node() };
    let judge = |disk: DiskIdentity| {
        let receipt = WriteReceipt { disk, ..receipt() };
        let outcome = crate::agent::Outcome::Done(StepResult::WriteImage(receipt));
        let event = Event::StepReported { step: step_id(), outcome: Box::new(outcome) };
        matches!(step(&node, &event, &ctx(&policy)), Step::Go(_))
    };
    assert!(judge(named.clone()));
    assert!(!judge(DiskIdentity { name: "vdb".into(), ..named.clone() }));
    assert!(!judge(DiskIdentity { size_bytes: 1, ..named }));
}

/// A machine with a disk for the system and one with somebody's data.
fn two_disks() -> Inventory {
    let mut found = inventory();
    let other = Disk { name: "vdb".into(), size_bytes: 40 << 30, ..found.disks[0].clone() };
    found.disks.push(Disk { serial: Some("data".into()), ..other });
    found
}

#[test]
fn a_cleaning_looks_first_and_wipes_the_chosen_disk_alone() {
    let policy = Policy::default();
    let node = Node { state: ProvisionState::Manageable, ..node() };
    let fresh = Context { ramdisk_seen_at: Some(NOW), ..ctx(&policy) };
    let provide = |wipe: WipeScope| {
        let event = Event::Verb { request: Verb::Provide { wipe } };
        let Step::Go(next) = step(&node, &event, &fresh) else { panic!() };
        assert_eq!(next.actions, [Action::Order { work: Work::Inspect }]);
        Node { phase: Phase::Ordered { work: Work::Inspect, step: step_id() }, ..next.node }
    };
    let found = |node: &Node, inventory: Inventory| {
        let outcome = crate::agent::Outcome::Done(StepResult::Inspect(inventory));
        let event = Event::StepReported { step: step_id(), outcome: Box::new(outcome) };
        step(node, &event, &fresh)
    };
    let wiped = |wipe: WipeScope| match found(&provide(wipe), two_disks()) {
        Step::Go(next) => match &next.actions[..] {
            [Action::Order { work: Work::Wipe { disks } }] => disks.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(wiped(WipeScope::default()), [disk()]);
    let all: Vec<DiskIdentity> = two_disks().disks.iter().map(Disk::identity).collect();
    assert_eq!(wiped(WipeScope::All), all);
    assert_eq!(wiped(WipeScope::Root { need_bytes: 30 << 30 }), all[1..]);
    let gone = WipeScope::These { disks: all };
    let Step::Fail(failure) = found(&provide(gone), inventory()) else { panic!() };
    assert_eq!(failure.kind, FailureKind::DiskGone);
}

#[test]
fn a_wipe_of_another_disk_than_ordered_is_no_wipe() {
    let policy = Policy::default();
    let phase = Phase::Ordered { work: Work::Wipe { disks: vec![disk()] }, step: step_id() };
    let node = Node { state: ProvisionState::CleanWait, phase, ..node() };
    let report = |disks: Vec<DiskIdentity>| {
        let result = result_of(&Work::Wipe { disks });
        let outcome = Box::new(crate::agent::Outcome::Done(result));
        step(&node, &Event::StepReported { step: step_id(), outcome }, &ctx(&policy))
    };
    let Step::Go(next) = report(vec![disk()]) else { panic!() };
    assert!(next.effects.contains(&Effect::DisksAreEmpty));
    let other = DiskIdentity { serial: Some("data".into()), ..disk() };
    for wrong in [vec![], vec![other.clone()], vec![disk(), other]] {
        let Step::Fail(failure) = report(wrong) else { panic!() };
        assert_eq!(failure.kind, FailureKind::AgentConfused);
    }
}

#[test]
fn what_was_written_is_what_undeploy_wipes() {
    let policy = Policy::default();
    let instance = Instance { request: request(), written: Some(receipt()), reported_at: None };
    let node = Node { state: ProvisionState::Active, instance: Some(instance), ..node() };
    let event = Event::Verb { request: Verb::Undeploy };
    let Step::Go(next) = step(&node, &event, &ctx(&policy)) else { panic!() };
    let these = WipeScope::These { disks: vec![disk()] };
    assert_eq!(next.node.wipe, these);
    // It failed; asked for again, by whatever verb, it is the same disk.
    let (state, phase) = (ProvisionState::Error, Phase::Idle);
    let again = Node { state, phase, ..next.node.clone() };
    let Step::Go(next) = step(&again, &event, &ctx(&policy)) else { panic!() };
    assert_eq!(next.node.wipe, these);
    let state = ProvisionState::CleanFailed;
    let again = Node { state, instance: None, phase: Phase::Idle, ..next.node };
    let request = Verb::Provide { wipe: WipeScope::default() };
    let Step::Go(next) = step(&again, &Event::Verb { request }, &ctx(&policy)) else { panic!() };
    assert_eq!(next.node.wipe, these);
    let taken_back = Event::Verb { request: Verb::Manage };
    let Step::Go(next) = step(&again, &taken_back, &ctx(&policy)) else { panic!() };
    assert_eq!(next.node.wipe, WipeScope::default());
    assert!(next.effects.contains(&Effect::EndApprovals));
}

#[test]
fn how_far_the_boot_came_is_in_the_sentence() {
    let policy = Policy::default();
    let (state, phase) = (ProvisionState::InspectWait, Phase::AgentBoots);
    let node = Node { state, phase, deadline: Some(NOW), booted_again: true, ..node() };
    let mut sentences = Vec::new();
    for boot_progress in [
        BootProgress::Silent,
        BootProgress::Dhcp,
        BootProgress::Program,
        BootProgress::Script,
        BootProgress::Kernel,
        BootProgress::Ramdisk,
    ] {
        let ctx = Context { boot_progress, ..ctx(&policy) };
        let Step::Fail(failure) = step(&node, &Event::Tick, &ctx) else { panic!() };
        assert_eq!(failure.kind, FailureKind::NeverBooted);
        sentences.push(failure.detail);
    }
    sentences.dedup();
    assert_eq!(sentences.len(), 6);
}

#[test]
fn a_daemon_that_was_away_gives_everybody_time_to_call() {
    let policy = Policy::default();
    let (state, phase) = (ProvisionState::InspectWait, Phase::AgentBoots);
    let node = Node { state, phase, deadline: Some(NOW - 1), ..node() };
    let just_up = Context { listening_since: NOW - 1000, ..ctx(&policy) };
    assert!(matches!(step(&node, &Event::Tick, &just_up), Step::Stay(_)));
    // What was switched on before it listened boots once more, when its time is over.
    let up_since_then = Context { listening_since: NOW - 500_000, ..ctx(&policy) };
    let unheard = Context { boot_opened_at: Some(NOW - 600_000), ..up_since_then };
    let Step::Go(next) = step(&node, &Event::Tick, &unheard) else { panic!() };
    assert_eq!(
        (next.node.state, next.node.phase),
        (ProvisionState::Inspecting, Phase::NetworkBoot)
    );
    let heard = Context { boot_opened_at: Some(NOW - 400_000), ..up_since_then };
    assert!(matches!(step(&node, &Event::Tick, &heard), Step::Fail(_)));
    let phase = Phase::Ordered { work: Work::Wipe { disks: vec![disk()] }, step: step_id() };
    let node = Node { state: ProvisionState::CleanWait, phase, deadline: None, ..node };
    let seen = Some(NOW - 600_000);
    let silent = Context { ramdisk_seen_at: seen, ..ctx(&policy) };
    assert!(matches!(step(&node, &Event::Tick, &silent), Step::Fail(_)));
    let just_up = Context { listening_since: NOW - 1000, ..silent };
    assert!(matches!(step(&node, &Event::Tick, &just_up), Step::Stay(_)));
}

#[test]
fn deployments_in_maintenance_are_refused_and_busy_nodes_say_with_what() {
    let mut node = Node { state: ProvisionState::Available, ..node() };
    let deploy = Verb::Deploy(Box::new(request()));
    assert_eq!(deploy.check(&node), Ok(()));
    node.maintenance = Some(Maintenance { reason: None });
    assert!(matches!(deploy.check(&node), Err(Refusal::Maintenance { .. })));
    node.phase = Phase::Errand { errand: Errand::CycleOff };
    let refusal = Verb::Manage.check(&node).unwrap_err();
    assert!(refusal.to_string().contains("busy switching it off for a restart"), "{refusal}");
    node.state = ProvisionState::Enroll;
    node.phase = Phase::Idle;
    let refusal = deploy.check(&node).unwrap_err();
    assert_eq!(refusal.to_string(), "compute-0 is `enroll`, and cannot deploy from there");
    assert_eq!(
        refusal.hint().unwrap(),
        "undercloud node manage compute-0; deploy is for a node that is `available`, \
         `deploy failed`, `error`"
    );
    node.state = ProvisionState::Deploying;
    assert!(deploy.check(&node).unwrap_err().hint().unwrap().starts_with("wait; "));
}

#[test]
fn what_a_refusal_says_can_be_asked_for_can_be() {
    let verbs = [
        Verb::Manage,
        Verb::Inspect,
        Verb::Provide { wipe: WipeScope::default() },
        Verb::Deploy(Box::new(request())),
        Verb::Undeploy,
        Verb::Abort,
    ];
    for state in ProvisionState::ALL {
        let node = Node { state, ..node() };
        for refused in &verbs {
            let Err(refusal) = refused.check(&node) else { continue };
            let hint = refusal.hint().unwrap();
            for verb in &verbs {
                let command = format!("undercloud node {} {}", verb.word(), node.name);
                assert_eq!(hint.contains(&command), verb.check(&node).is_ok(), "{state}: {hint}");
            }
        }
    }
}
