//! Installations by a daemon that dies, on a real store, with an engine and agents that do at once
//! what they are asked for.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::task::JoinSet;
use undercloud_api::{
    Clock,
    admin::{CloudApproval, TaskState, TaskView},
    tls::Authority,
};
use undercloud_cloud::rollout;
use undercloud_image::{
    catalog::{Content, Encoding, Image},
    digest_of,
};
use undercloud_model::{
    NodeName, PowerState,
    agent::{PROTOCOL_VERSION, Poll, Report, StepFailure, StepFailureKind, cloud::Converged},
    node::{self, FailureKind, LastError, Next, Node, ProvisionState},
    timeline::Change,
};
use undercloud_store::{AgentKind, DeploymentRow, Halt, Open, Principal, Scope, Store, TurnCommit};

use super::*;
use crate::{
    daemon::{
        test_node,
        test_rack::{self, Rack, inventory, nics, root},
    },
    verify::VerifyReport,
};

/// No site, and a cloud that works.
#[derive(Default)]
struct Fake {
    checks: AtomicUsize,
}

impl Ground for Fake {
    fn allows(&self, _: &Verb) -> Result<(), ApiError> {
        Ok(())
    }

    fn nics(&self) -> LabNics {
        nics()
    }

    fn agent(&self) -> anyhow::Result<AgentProgram> {
        let program = b"the agent that the daemon brings along";
        Ok(AgentProgram { blob: digest_of(program), bytes: program.len() as u64 })
    }

    fn verify(&self, access: &CloudAccess, said: Said) -> anyhow::Result<VerifyReport> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        assert_eq!(access.user, "admin");
        if let Said::Lines(say) = said {
            say("  ok    login: it lists them (0.1 s)".to_owned());
        }
        Ok(VerifyReport {
            steps: Vec::new(),
            took_ms: 5000,
            server: "s".into(),
            floating_address: "10.0.0.100".into(),
        })
    }
}

/// A daemon, as far as installations go; with it an engine and agents.
struct Daemon {
    store: Store,
    clouds: Arc<Clouds>,
    installer: Arc<Installer>,
    tasks: Tasks,
    ground: Arc<Fake>,
    _others: JoinSet<()>,
}

impl Daemon {
    /// One that begins; `refuses` is the machine whose BMC does not answer.
    async fn begin(clouds: Clouds, ground: &Arc<Fake>, refuses: Option<&str>) -> Self {
        let (store, clouds) = (clouds.store.clone(), Arc::new(clouds));
        let installer = Arc::new(Installer::new(clouds.clone(), ground.clone()));
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        let mut others = JoinSet::new();
        let refuses = refuses.map(|name| name.parse().unwrap());
        others.spawn(engine(store.clone(), refuses));
        for node in store.nodes().await.unwrap() {
            others.spawn(agent(store.clone(), node));
        }
        let ground = ground.clone();
        Self { store, clouds, installer, tasks, ground, _others: others }
    }

    fn ask(&self) {
        let description = CloudConfig::shipped_text().to_owned();
        let (ssh_keys, until) = (Vec::new(), Until::Verified);
        let request = TaskRequest::CloudInstall { description, ssh_keys, until };
        let installer = self.installer.clone();
        let begun = self.tasks.start_or_follow(request, |request, reporter| async move {
            let TaskRequest::CloudInstall { description, ssh_keys, until } = request else {
                panic!("another task")
            };
            installer.install(&root(), (description, ssh_keys, until), reporter).await
        });
        begun.unwrap();
    }

    /// The newest task's end.
    async fn ended(&self) -> TaskView {
        let id = self.tasks.list()[0].id;
        loop {
            let view = self.tasks.wait(id, u64::MAX, Duration::from_secs(60)).await.unwrap();
            if view.state != TaskState::Running {
                return self.tasks.look(id, 0).unwrap();
            }
        }
    }

    async fn newest(&self) -> DeploymentRow<Value> {
        self.clouds.rows().await.unwrap().remove(0)
    }

    async fn state(&self) -> State {
        match self.store.newest_installation().await.unwrap() {
            Some(Kept::Known(installation)) => installation.state,
            other => panic!("{other:?}"),
        }
    }

    /// What was asked of a machine, in order.
    async fn asked(&self, name: &str) -> Vec<String> {
        let node = self.store.node(name).await.unwrap();
        let events = self.store.events_since(Scope::Node(node.id), 0, 1000).await.unwrap();
        let asked = events.iter().filter_map(|event| event.text.strip_prefix("asked for: "));
        let word = |asked: &str| asked.split(' ').next().unwrap_or_default().to_owned();
        asked.map(word).collect()
    }
}

/// Takes requests up, and brings each to its end at once.
async fn engine(store: Store, refuses: Option<NodeName>) {
    let mut changes = store.changes();
    loop {
        changes.mark_unchanged();
        let Ok(nodes) = store.nodes().await else { return };
        for node in nodes {
            while let Ok(Some(situation)) = store.situation(node.id).await
                && let Some((taken, node::Event::Verb { request })) = situation.inbox
            {
                let (node, now) = (&situation.node, clock::now_ms());
                let next = came_to(node, &request, refuses.as_ref(), now);
                let (from, to) = (node.state, next.node.state);
                let change = Change { from, to, in_state_ms: 1 };
                let commit = TurnCommit {
                    node,
                    next: Some(&next),
                    taken: Some(taken),
                    done: None,
                    power: None,
                    due_at: None,
                    events: vec![change.into()],
                };
                // Somebody else wrote it, or the process died.
                if store.commit(commit, now).await.is_err() {
                    break;
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn came_to(node: &Node, verb: &Verb, refuses: Option<&NodeName>, now: i64) -> Next {
    let state = match verb {
        _ if refuses == Some(&node.name) => ProvisionState::Enroll,
        Verb::Manage | Verb::Inspect => ProvisionState::Manageable,
        Verb::Provide { .. } | Verb::Undeploy => ProvisionState::Available,
        Verb::Deploy(_) => ProvisionState::Active,
        Verb::Abort | Verb::Power { .. } | Verb::BootDevice { .. } => node.state,
    };
    Next::to(node, state, now).with(|node| {
        if refuses == Some(&node.name) {
            let (kind, text) = (FailureKind::BmcUnreachable, format!("{}: no answer", node.name));
            node.last_error = Some(LastError { kind, text, at: now });
        }
        match verb {
            Verb::Inspect => node.inventory = Some(inventory()),
            Verb::Deploy(_) | Verb::Power { .. } => node.power = Some(PowerState::On),
            _ => {}
        }
    })
}

/// The agent of an installed machine: does what it is ordered to.
async fn agent(store: Store, node: Node) {
    let caller = Principal { node: node.id, kind: AgentKind::Installed };
    loop {
        let done = Converged { changed: true, note: String::new(), took_ms: 1 };
        let outcome = Outcome::Done(StepResult::Cloud(done));
        if one_step(&store, &caller, outcome).await.is_err() {
            return;
        }
    }
}

async fn one_step(store: &Store, caller: &Principal, outcome: Outcome) -> anyhow::Result<()> {
    let poll = Poll {
        protocol: PROTOCOL_VERSION,
        boot_id: "b".into(),
        busy: Vec::new(),
        ssh_host_key: None,
        health: None,
    };
    let (hold, now) = (Duration::from_secs(60), clock::now_ms());
    let reply = store.agent_poll(caller, &poll, hold, now).await?;
    if let Some(order) = reply.order {
        let report = Report { id: order.id, outcome, log: Vec::new() };
        store.agent_report(caller, &report, clock::now_ms()).await?;
    }
    Ok(())
}

/// Two machines that are enrolled, and the images that they boot.
async fn enrolled(is_own: bool) -> Rack {
    let rack = test_rack::rack().await;
    let digest = digest_of(b"an image");
    for name in [
        names::IPXE_BIOS,
        names::IPXE_UEFI,
        names::DEPLOY_KERNEL,
        names::DEPLOY_RAMDISK,
        names::OVERCLOUD_FULL,
    ] {
        let image = Image {
            name: name.to_owned(),
            kind: names::kind_of(name).unwrap(),
            digest,
            size: 1,
            encoding: Encoding::Plain,
            content: Content { digest, size: 1 },
            os: None,
            min_disk_bytes: 0,
            has_agent: true,
            built_at: 1,
            inputs: digest_of(b"packages"),
        };
        rack.store.put_image(name, &digest, &image, 1).await.unwrap();
    }
    if is_own {
        let nodes = rack.store.nodes().await.unwrap();
        let macs: Vec<_> = nodes.iter().flat_map(|node| &node.ports).map(|port| port.mac).collect();
        rack.store.set_own_machines(&macs).await.unwrap();
    }
    rack
}

const ALL: [&str; 4] = ["manage", "inspect", "provide", "deploy"];

#[tokio::test]
async fn from_enrolled_machines_to_a_verified_cloud_and_again_nothing_but_a_look() {
    let rack = enrolled(true).await;
    let ground = Arc::new(Fake::default());
    let daemon = Daemon::begin(rack.clouds, &ground, None).await;
    daemon.ask();
    let view = daemon.ended().await;
    assert_eq!((view.state, &view.error), (TaskState::Done, &None));
    let ends = |view: &TaskView| -> Vec<(String, String)> {
        let ended = view.lines.iter().filter(|line| line.ends.is_some());
        ended.map(|line| (line.ends.clone().unwrap(), line.text.clone())).collect()
    };
    let (parts, texts): (Vec<_>, Vec<_>) = ends(&view).into_iter().unzip();
    assert_eq!(parts, [MACHINES, CLOUD, VERIFICATION]);
    assert_eq!((texts[0].as_str(), texts[2].as_str()), ("2 active", "passed in 5.0 s"));
    assert!(texts[1].starts_with("deployment 1: "), "{texts:?}");
    let said = |text: &str| view.lines.iter().any(|line| line.text.contains(text));
    assert!(said("compute-0: available → active") && said("  ok    login: it lists them"));
    for name in ["controller-0", "compute-0"] {
        assert_eq!(daemon.asked(name).await, ALL);
    }
    assert_eq!(daemon.state().await, State::Verified);

    daemon.ask();
    let again = daemon.ended().await;
    assert_eq!(ends(&again)[2].1, "passed in 5.0 s (an earlier run)");
    assert_eq!(daemon.newest().await.attempt, 2);
    assert_eq!(ground.checks.load(Ordering::SeqCst), 1);
    assert_eq!(daemon.asked("compute-0").await, ALL);
}

/// Kills the daemon at this write of the process; says whether it got so far, and how many writes
/// there were.
async fn killed(at: u64) -> (bool, u64) {
    let Rack { dir, store, clouds } = enrolled(true).await;
    store.close().await;
    drop(clouds);
    let path = camino::Utf8Path::from_path(dir.path()).unwrap();
    let state = StateDir::new(dir.path()).unwrap();
    let open = async |halt| {
        let open = Open { halt, ..Open::at(clock::now_ms()) };
        let store = Store::open(path.join("db"), open).await.unwrap();
        let authority = Authority::open(&path.join("pki"), clock::now_ms()).unwrap();
        Clouds::new(&state, store, authority.into())
    };
    let ground = Arc::new(Fake::default());
    let daemon = Daemon::begin(open(Some(Halt::After(at))).await, &ground, None).await;
    daemon.ask();
    let died = daemon.ended().await.state == TaskState::Failed;
    let writes = daemon.store.writes();
    drop(daemon);
    let daemon = Daemon::begin(open(None).await, &ground, None).await;
    resume(&daemon.installer, &daemon.tasks).await;
    if !daemon.tasks.list().is_empty() {
        let view = daemon.ended().await;
        assert_eq!((view.state, &view.error), (TaskState::Done, &None), "killed at {at}");
    }
    if daemon.store.newest_installation().await.unwrap().is_none() {
        return (died, writes);
    }
    assert_eq!(daemon.state().await, State::Verified, "killed at {at}");
    for name in ["controller-0", "compute-0"] {
        assert_eq!(daemon.asked(name).await, ALL, "killed at {at}");
    }
    let row = daemon.newest().await;
    assert_eq!((row.number, row.attempt, row.is_complete()), (1, 1, true), "killed at {at}");
    assert!(daemon.ground.checks.load(Ordering::SeqCst) <= 2, "killed at {at}");
    (died, writes)
}

#[tokio::test]
async fn a_daemon_that_is_killed_anywhere_goes_on_and_asks_nothing_twice() {
    // All writes until the machines are active, and some of the many that steps make.
    let (mut at, mut died) = (1, true);
    while died {
        let writes;
        (died, writes) = killed(at).await;
        assert!(!died || writes >= at, "killed at {at}, after {writes} writes");
        at += if at < 30 { 3 } else { 40 };
    }
    assert!(at > 100, "there was nothing to kill: {at}");
}

#[tokio::test]
async fn a_missing_approval_is_waited_for_and_goes_on_when_it_is_there() {
    let rack = enrolled(false).await;
    let daemon = Daemon::begin(rack.clouds, &Arc::default(), None).await;
    daemon.ask();
    let error = daemon.ended().await.error.unwrap();
    assert_eq!(error.kind, ErrorKind::Denied);
    let State::WaitsForApproval { plan } = daemon.state().await else { panic!("it goes on") };
    assert!(error.hint.unwrap().contains(&format!("cloud install --approve {plan}")));
    assert_eq!(daemon.asked("compute-0").await, ["manage", "inspect"]);
    // A daemon that begins waits on.
    let tasks = Tasks::new(Clock::new(clock::now_ms));
    resume(&daemon.installer, &tasks).await;
    assert!(tasks.list().is_empty());
    let description = CloudConfig::shipped_text().to_owned();
    let approval = CloudApproval { description, digest: plan };
    assert_eq!(daemon.clouds.approve(&root(), approval, &nics()).await.unwrap().len(), 2);
    daemon.ask();
    assert_eq!(daemon.ended().await.error, None);
    assert_eq!(
        (daemon.state().await, daemon.asked("compute-0").await),
        (State::Verified, ALL.map(String::from).to_vec())
    );
}

#[tokio::test]
async fn a_machine_that_fails_is_the_answer_and_holds_up_no_other() {
    let rack = enrolled(true).await;
    let daemon = Daemon::begin(rack.clouds, &Arc::default(), Some("compute-0")).await;
    daemon.ask();
    let error = daemon.ended().await.error.unwrap();
    assert_eq!(error.message, "compute-0: no answer");
    assert_eq!(error.hint.as_deref(), Some("undercloud node history compute-0"));
    assert_eq!(daemon.asked("compute-0").await, ["manage"]);
    assert_eq!(daemon.asked("controller-0").await, ["manage", "inspect"]);
    assert!(matches!(daemon.state().await, State::Failed { during: Stage::Inspecting, .. }));
    // What is not under way is nobody's to keep.
    let node = daemon.store.node("compute-0").await.unwrap();
    daemon.clouds.may_lose(node.id, false, "deleted").await.unwrap();
}

fn plan(node: &Node, schema: u32) -> Value {
    let machine = json!({
        "name": "controller-0", "node": node.id, "role": "controller",
        "addresses": { "internal": "172.17.0.10", "public": null },
        "provisioning_address": null, "services": [], "images": [], "memory_mib": null,
        "install": false, "disk": null,
    });
    json!({
        "schema": schema,
        "cloud": {
            "name": "overcloud", "region": "RegionOne", "public_host": "10.0.0.10",
            "public_address": "10.0.0.10", "internal_address": "172.17.0.10",
            "auth_url": "https://10.0.0.10:5000/v3", "endpoints": [],
            "public_network": {
                "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
                "floating_start": "10.0.0.100", "floating_end": "10.0.0.199",
            },
        },
        "machines": [machine],
        "steps": [{
            "key": "controller-0/retire", "machine": "controller-0", "title": "Retire",
            "needs": [], "expected_s": 1,
            "step": { "kind": "retire_services", "keep": [] },
        }],
        "secrets": {}, "expected_minutes": 1,
    })
}

/// A machine that is installed, and an installation whose run was broken off.
struct Site {
    _dir: tempfile::TempDir,
    installer: Arc<Installer>,
    store: Store,
    node: Node,
}

async fn broken_off(schema: u32, change: impl FnOnce(&mut Value)) -> Site {
    broken_off_at(None, schema, change).await
}

/// Its power was seen last by the daemon before.
async fn broken_off_at(
    power: Option<PowerState>,
    schema: u32,
    change: impl FnOnce(&mut Value),
) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(dir.path()).unwrap();
    let now = clock::now_ms();
    let store = Store::open(path.join("db"), Open::at(now)).await.unwrap();
    let node = test_node::enrolled(&store, "controller-0", now).await;
    let next = Next::to(&node, ProvisionState::Active, now);
    let commit = TurnCommit {
        node: &node,
        next: Some(&next),
        taken: None,
        done: None,
        power: power.map(Some),
        due_at: None,
        events: Vec::new(),
    };
    let node = store.commit(commit, now).await.unwrap();
    let order = Order {
        description: String::new(),
        machines: vec![node.name.clone()],
        image: "overcloud-full".into(),
        ssh_keys: Vec::new(),
        until: Until::Installed,
    };
    let mut at = store.ask_for_installation(&order, now).await.unwrap();
    for event in [Event::Inspected { needs_approval: None }, Event::MachinesActive] {
        at = store.turn_installation(&at, event, WithIt::Nothing, now).await.unwrap();
    }
    let mut plan = plan(&node, schema);
    change(&mut plan);
    let digest = Digest::from_bytes([7; 32]);
    let begun = store.begin_installation_run(&at, &plan, &digest, rollout::ORDERS, now);
    begun.await.unwrap();
    store.close().await;
    let store = Store::open(path.join("db"), Open::at(clock::now_ms())).await.unwrap();
    let state = StateDir::new(dir.path()).unwrap();
    std::fs::create_dir(state.pki()).unwrap();
    let authority = Arc::new(Authority::open(&path.join("pki"), now).unwrap());
    let clouds = Arc::new(Clouds::new(&state, store.clone(), authority));
    let installer = Arc::new(Installer::new(clouds, Arc::new(Fake::default())));
    Site { _dir: dir, installer, store, node }
}

impl Site {
    /// The machine's agent does the one step, and a daemon that begins its part.
    async fn goes_on(&self, outcome: Option<Outcome>) -> TaskView {
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        resume(&self.installer, &tasks).await;
        if let Some(outcome) = outcome {
            let caller = Principal { node: self.node.id, kind: AgentKind::Installed };
            one_step(&self.store, &caller, outcome).await.unwrap();
        }
        let id = tasks.list()[0].id;
        loop {
            let view = tasks.wait(id, u64::MAX, Duration::from_secs(60)).await.unwrap();
            if view.state != TaskState::Running {
                return view;
            }
        }
    }

    async fn newest(&self) -> DeploymentRow<Value> {
        self.installer.clouds.rows().await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_daemon_that_begins_goes_on_with_the_run_that_was_broken_off() {
    let site = broken_off(undercloud_cloud::plan::SCHEMA, |_| {}).await;
    let done = Converged { changed: true, note: String::new(), took_ms: 1 };
    let view = site.goes_on(Some(Outcome::Done(StepResult::Cloud(done)))).await;
    assert_eq!((view.name.as_str(), view.state), ("cloud install", TaskState::Done));
    let result = json!({ "deployment": 1, "attempt": 1, "steps": 1, "changed": 1 });
    assert_eq!(view.result, Some(result));
    let row = site.newest().await;
    assert_eq!((row.number, row.attempt, row.is_complete()), (1, 1, true));
    // What is over is not begun again.
    let tasks = Tasks::new(Clock::new(clock::now_ms));
    resume(&site.installer, &tasks).await;
    assert!(tasks.list().is_empty());
}

/// The first look of the new daemon sees `power`; the machine was on when the one before saw it.
/// The texts of the timeline after the run.
async fn goes_on_after_a_look(power: PowerState) -> Vec<String> {
    let known = Some(PowerState::On);
    let site = broken_off_at(known, undercloud_cloud::plan::SCHEMA, |_| {}).await;
    let store = &site.store;
    let tasks = Tasks::new(Clock::new(clock::now_ms));
    resume(&site.installer, &tasks).await;
    let mut others = JoinSet::new();
    others.spawn(agent(store.clone(), site.node.clone()));
    let node = store.node(site.node.id).await.unwrap();
    if node.power == Some(power) {
        // The engine writes nothing where nothing changed.
        store.saw_power(node.id);
    } else {
        let commit = TurnCommit {
            node: &node,
            next: None,
            taken: None,
            done: None,
            power: Some(Some(power)),
            due_at: None,
            events: Vec::new(),
        };
        store.commit(commit, clock::now_ms()).await.unwrap();
    }
    others.spawn(engine(store.clone(), None));
    let id = tasks.list()[0].id;
    let view = loop {
        let view = tasks.wait(id, u64::MAX, Duration::from_secs(60)).await.unwrap();
        if view.state != TaskState::Running {
            break view;
        }
    };
    assert_eq!((view.state, &view.error), (TaskState::Done, &None));
    let events = store.events_since(Scope::All, 0, 1000).await.unwrap();
    events.into_iter().map(|event| event.text).collect()
}

#[tokio::test]
async fn after_a_power_cut_a_run_goes_on_when_its_machines_are_on_again() {
    let texts = goes_on_after_a_look(PowerState::Off).await;
    let place = |what: &str| texts.iter().position(|text| text.contains(what));
    let (on, step) = (place("asked for: power on"), place("Retire begins"));
    assert!(on.is_some() && on < step, "{texts:#?}");
}

#[tokio::test]
async fn a_run_goes_on_when_its_machines_were_seen_to_be_on_still() {
    let texts = goes_on_after_a_look(PowerState::On).await;
    assert!(!texts.iter().any(|text| text.contains("asked for: power on")), "{texts:#?}");
}

/// Such a look writes nothing, and is told all the same.
#[tokio::test]
async fn the_first_look_after_a_daemon_s_start_is_told_from_what_is_stored() {
    let known = Some(PowerState::On);
    let site = broken_off_at(known, undercloud_cloud::plan::SCHEMA, |_| {}).await;
    let node = site.store.node(site.node.id).await.unwrap();
    assert!(site.installer.is_power_old(&node));
    let mut changes = site.store.changes();
    changes.mark_unchanged();
    site.store.saw_power(node.id);
    assert!(changes.has_changed().unwrap(), "who waits is told");
    assert!(!site.installer.is_power_old(&node));
    changes.mark_unchanged();
    site.store.saw_power(node.id);
    assert!(!changes.has_changed().unwrap(), "once");
}

#[tokio::test]
async fn a_run_that_this_version_cannot_carry_out_ends_with_a_sentence() {
    let site = broken_off(99, |_| {}).await;
    let view = site.goes_on(None).await;
    assert!(view.error.unwrap().hint.unwrap().contains("undercloud cloud install"));
    let failure = site.newest().await.failure.unwrap();
    assert!(failure.contains("version 99 of a plan's shape"), "{failure}");
}

#[tokio::test]
async fn a_failure_with_known_words_is_explained() {
    let site = broken_off(undercloud_cloud::plan::SCHEMA, |plan| {
        plan["steps"][0]["step"] = json!({
            "kind": "await_health", "service": "mariadb", "probe": "unit", "timeout_s": 300,
        });
    })
    .await;
    let message = "mariadb ends again and again: it was started again 5 times in 14 s";
    let failure = StepFailure {
        said: vec!["[ERROR] Can't init tc log".into()],
        ..StepFailure::new(StepFailureKind::Unhealthy, message)
    };
    let error = site.goes_on(Some(Outcome::Failed(failure))).await.error.unwrap();
    assert_eq!(
        error.message,
        format!("controller-0: Retire: {message}: its transaction log is empty or damaged")
    );
    assert!(error.hint.unwrap().starts_with("undercloud ssh controller-0 rm "));
}
