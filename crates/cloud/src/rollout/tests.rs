//! Rollouts on a real store, with agents that do what each test says.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use tempfile::TempDir;
use tokio::sync::Notify;
use undercloud_model::{
    Digest, Secret,
    agent::{
        PROTOCOL_VERSION, Poll, Report, StepFailureKind,
        cloud::{AgentProgram, CloudStep, IdentityAccess, IdentitySetup},
    },
    node::{NewNode, RawNode},
};
use undercloud_store::{AgentKind, Open, Principal, ProvisioningRange, Scope, TurnCommit};

use super::*;
use crate::{
    SecretKind,
    plan::{CloudSummary, MachineAddresses, PlannedMachine, PublicNetworkSummary, StepKey},
};

const NOW: i64 = 1_700_000_000_000;

struct World {
    _dir: TempDir,
    store: Store,
    plan: Plan,
    /// Keys in the order in which agents began them.
    begun: Mutex<Vec<String>>,
    clock: AtomicI64,
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// `a` and `b` on one machine, `c` on the other after both; `c` holds a secret.
async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let file = camino::Utf8PathBuf::from_path_buf(dir.path().join("db")).unwrap();
    let store = Store::open(file, Open::at(NOW)).await.unwrap();
    let range = ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: "192.168.24.10".parse().unwrap(),
        last: "192.168.24.13".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    let mut machines = Vec::new();
    for (number, node_name) in [(1, "controller-0"), (2, "compute-0")] {
        let new = NewNode::try_from(RawNode {
            name: node_name.into(),
            bmc_address: format!("127.0.0.{number}"),
            bmc_user: "admin".into(),
            bmc_password: Secret::new("correct horse 16"),
            macs: vec![format!("52:54:00:00:00:0{number}")],
            ..RawNode::default()
        });
        let node = store.enrol_node(new.unwrap(), NOW).await.unwrap();
        machines.push(PlannedMachine {
            name: node.name.clone(),
            node: node.id,
            role: "controller".into(),
            addresses: MachineAddresses {
                internal: [172, 17, 0, number].into(),
                public: None,
                others: Default::default(),
            },
            provisioning_address: None,
            services: Vec::new(),
            images: Vec::new(),
            memory_mib: None,
            install: false,
            disk: None,
            disks: Vec::new(),
        });
    }
    let plan = plan(machines);
    World { _dir: dir, store, plan, begun: Mutex::default(), clock: AtomicI64::new(NOW) }
}

fn plan(machines: Vec<PlannedMachine>) -> Plan {
    let step = |machine: &str, key: &str, needs: &[(&str, &str)], step: CloudStep| PlannedStep {
        key: StepKey::new(&name(machine), key),
        machine: name(machine),
        title: format!("Do {key}"),
        needs: needs.iter().map(|(m, k)| StepKey::new(&name(m), k)).collect(),
        expected_s: 1,
        step,
    };
    let plain = || CloudStep::RetireServices { keep: Vec::new() };
    let secret = CloudStep::EnsureIdentity(IdentitySetup {
        access: IdentityAccess {
            auth_url: "http://172.17.0.1:5000/v3".into(),
            user: "admin".into(),
            password: Secret::new(Reference::Secret("admin_password".into()).to_string()),
            project: "admin".into(),
        },
        region: "RegionOne".into(),
        users: Vec::new(),
        services: Vec::new(),
        absent: Vec::new(),
    });
    let (one, two) = ("controller-0", "compute-0");
    Plan {
        schema: crate::plan::SCHEMA,
        cloud: CloudSummary {
            name: "overcloud".into(),
            region: "RegionOne".into(),
            public_host: "10.0.0.10".into(),
            public_address: [10, 0, 0, 10].into(),
            internal_address: [172, 17, 0, 1].into(),
            auth_url: "https://10.0.0.10:5000/v3".into(),
            dashboard: None,
            endpoints: Vec::new(),
            public_network: PublicNetworkSummary {
                cidr: "10.0.0.0/24".parse().unwrap(),
                gateway: [10, 0, 0, 1].into(),
                floating_start: [10, 0, 0, 100].into(),
                floating_end: [10, 0, 0, 199].into(),
            },
        },
        machines,
        steps: vec![
            step(one, "a", &[], plain()),
            step(one, "b", &[(one, "a")], plain()),
            step(two, "c", &[(one, "a"), (one, "b")], secret),
            step(two, "d", &[(two, "c")], plain()),
        ],
        secrets: BTreeMap::from([("admin_password".to_owned(), SecretKind::Password)]),
        expected_minutes: 1,
    }
}

/// The daemon's build of the agent.
fn program() -> AgentProgram {
    AgentProgram { blob: Digest::from_bytes([7; 32]), bytes: 7 }
}

fn done(changed: bool) -> Outcome {
    Outcome::Done(StepResult::Cloud(Converged { changed, note: String::new(), took_ms: 5 }))
}

fn failed(message: &str) -> Outcome {
    let failure = StepFailure::new(StepFailureKind::Unhealthy, message);
    Outcome::Failed(failure)
}

impl World {
    fn principal(&self, machine: usize) -> Principal {
        Principal { node: self.plan.machines[machine].node, kind: AgentKind::Installed }
    }

    /// A machine's agent: does what comes, for ever. `None` is an order that is never reported.
    async fn agent(
        &self,
        machine: usize,
        work: &(dyn Fn(&str, &CloudStep) -> Option<Outcome> + Sync),
    ) {
        let principal = self.principal(machine);
        let mut busy = Vec::new();
        loop {
            let poll = Poll {
                protocol: PROTOCOL_VERSION,
                boot_id: "boot".into(),
                busy: busy.clone(),
                ssh_host_key: None,
                health: None,
            };
            let hold = Duration::from_secs(3600);
            let now = self.clock.load(Ordering::Relaxed);
            let reply = self.store.agent_poll(&principal, &poll, hold, now).await.unwrap();
            let Some(order) = reply.order else { continue };
            let Step::Cloud { step } = &order.step else { panic!("{:?}", order.step) };
            let rows = self.store.orders_under(ORDERS).await.unwrap();
            let key = rows.into_iter().find(|row| row.id == order.id).unwrap().key;
            let key = key.rsplit('/').next().unwrap().to_owned();
            self.begun.lock().unwrap().push(key.clone());
            match work(&key, step) {
                Some(outcome) => {
                    let report = Report { id: order.id, outcome, log: Vec::new() };
                    self.store.agent_report(&principal, &report, now).await.unwrap();
                }
                None => busy.push(order.id),
            }
        }
    }

    async fn run(
        &self,
        attempt: i64,
        work: impl Fn(&str, &CloudStep) -> Option<Outcome> + Sync,
    ) -> Result<Summary, RolloutError> {
        let now = || self.clock.load(Ordering::Relaxed);
        let secret = |r: &Reference| {
            (*r == Reference::Secret("admin_password".into())).then(|| Secret::new("hunter2"))
        };
        let rollout = Rollout {
            store: &self.store,
            plan: &self.plan,
            deployment: 1,
            attempt,
            agent: program(),
            now: &now,
            secret: &secret,
            say: &|_| (),
        };
        tokio::select! {
            ended = rollout.run() => ended,
            () = self.agent(0, &work) => unreachable!("agents work for ever"),
            () = self.agent(1, &work) => unreachable!("agents work for ever"),
        }
    }

    /// What the timeline says of runs.
    async fn timeline(&self) -> Vec<String> {
        let events = self.store.events_since(Scope::All, 0, 1000).await.unwrap();
        events.into_iter().filter(|e| e.run.is_some()).map(|e| e.text).collect()
    }

    async fn begin(&self) {
        let digest = self.plan.digest().unwrap();
        self.store.begin_deployment(&self.plan, &digest, ORDERS, NOW).await.unwrap();
    }

    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn steps_are_done_in_the_order_of_their_needs_and_with_their_secrets() {
    let world = world().await;
    world.begin().await;
    let work = |key: &str, step: &CloudStep| {
        if let CloudStep::EnsureIdentity(setup) = step {
            assert_eq!(setup.access.password, Secret::new("hunter2"));
        }
        Some(done(key != "b"))
    };
    let summary = world.run(1, work).await.unwrap();
    assert_eq!(summary, Summary { steps: 4, changed: 3 });
    assert_eq!(world.begun(), ["a", "b", "c", "d"]);
    let kept = world.store.deployment_steps(1).await.unwrap();
    assert_eq!(kept.len(), 4);
    let text = serde_json::to_string(&world.plan).unwrap();
    assert!(!text.contains("hunter2"), "the stored plan holds a reference");
    let timeline = world.timeline().await;
    assert!(timeline.iter().all(|text| !text.contains("hunter2")), "{timeline:?}");
    assert_eq!(timeline.len(), 1 + 2 * 4, "{timeline:?}");
    assert_eq!(timeline[1], "controller-0: Do a begins");
    assert!(timeline[2].starts_with("controller-0: Do a: done"), "{timeline:?}");
}

#[tokio::test]
async fn what_is_waited_for_is_named_with_its_machine_since_when_and_until_when() {
    let world = world().await;
    let order = |step: usize, attempt: i64, created_at, outcome| RolloutOrder {
        id: undercloud_model::StepId::from_uuid(uuid::Uuid::from_u128(step as u128)),
        node: world.plan.machines[0].node,
        key: format!("{}{}", orders_of(1, attempt), world.plan.steps[step].key),
        created_at,
        outcome,
    };
    let orders = [
        order(0, 1, NOW, Some(done(true))),
        order(3, 1, NOW + 30, None),
        order(1, 1, NOW + 10, None),
        // Of another run.
        order(2, 2, NOW, None),
    ];
    let open = |machine: &str, title: &str, since| OpenStep {
        machine: name(machine),
        title: title.to_owned(),
        since,
        // Little is known of these machines: three times 15 minutes and twenty seconds.
        deadline: since + 3 * (15 * 60_000 + 20_000),
    };
    assert_eq!(
        open_steps(&world.plan, (1, 1), &orders),
        [open("compute-0", "Do d", NOW + 30), open("controller-0", "Do b", NOW + 10)]
    );
    assert_eq!(open_steps(&world.plan, (2, 1), &orders), []);
}

#[tokio::test]
async fn after_a_failure_nothing_new_begins_and_the_next_run_goes_on() {
    let world = world().await;
    world.begin().await;
    let sick = |key: &str, _: &CloudStep| {
        Some(if key == "b" { failed("rabbitmq is not healthy after 300 s") } else { done(true) })
    };
    let error = world.run(1, sick).await.unwrap_err();
    assert_eq!(error.to_string(), "controller-0: Do b: rabbitmq is not healthy after 300 s");
    assert!(error.hint().contains("openstack_failures_long"));
    let last = world.timeline().await.pop().unwrap();
    assert_eq!(last, "controller-0: Do b failed: rabbitmq is not healthy after 300 s");
    assert_eq!(world.begun(), ["a", "b"]);
    let well = |key: &str, _: &CloudStep| Some(done(key != "a"));
    let summary = world.run(2, well).await.unwrap();
    assert_eq!(summary, Summary { steps: 4, changed: 3 });
    assert_eq!(world.begun(), ["a", "b", "a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_daemon_that_dies_goes_on_without_doing_a_step_twice() {
    let world = world().await;
    world.begin().await;
    // It dies while `c` is under way: its agent goes on and reports to whoever is there.
    let reports_c = Mutex::new(false);
    let c_is_under_way = Notify::new();
    let work = |key: &str, _: &CloudStep| {
        if key != "c" || *reports_c.lock().unwrap() {
            return Some(done(true));
        }
        c_is_under_way.notify_one();
        None
    };
    tokio::select! {
        ended = world.run(1, &work) => panic!("{ended:?}"),
        () = c_is_under_way.notified() => {}
    }
    assert_eq!(world.begun(), ["a", "b", "c"]);
    *reports_c.lock().unwrap() = true;
    let summary = world.run(1, &work).await.unwrap();
    assert_eq!(summary.steps, 4);
    // The order is the same one, given again because its outcome was never reported.
    assert_eq!(world.begun(), ["a", "b", "c", "c", "d"]);
    let orders = world.store.orders_under(ORDERS).await.unwrap();
    assert_eq!(orders.len(), 4);
}

#[tokio::test]
async fn a_machine_whose_agent_is_silent_is_named() {
    let world = world().await;
    world.begin().await;
    let work = |key: &str, _: &CloudStep| {
        if key == "b" {
            world.clock.store(NOW + SILENCE_MAX_MS + 1000, Ordering::Relaxed);
            return None;
        }
        Some(done(true))
    };
    let error = world.run(1, work).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the agent of controller-0 has not called for 301 s"), "{text}");
    assert!(error.hint().starts_with("undercloud node agent restore controller-0"));
    let open = world.store.orders_under(ORDERS).await.unwrap();
    assert!(open.iter().all(|order| order.outcome.is_some()), "what was open is withdrawn");
    let last = world.timeline().await.pop().unwrap();
    assert_eq!(last, format!("controller-0 is lost: {text}"));
}

#[tokio::test]
async fn a_machine_that_is_switched_off_is_named() {
    let world = world().await;
    world.begin().await;
    let node = world.store.node(world.plan.machines[1].node).await.unwrap();
    let commit = TurnCommit {
        node: &node,
        next: None,
        taken: None,
        done: None,
        power: Some(Some(PowerState::Off)),
        due_at: None,
        events: Vec::new(),
    };
    world.store.commit(commit, NOW).await.unwrap();
    let work = |key: &str, _: &CloudStep| (key != "c").then(|| done(true));
    let error = world.run(1, work).await.unwrap_err();
    assert!(
        matches!(&error, RolloutError::SwitchedOff { machine } if machine.as_str() == "compute-0")
    );
    assert!(error.hint().starts_with("undercloud node power on compute-0"));
}

#[tokio::test]
async fn power_that_was_off_before_a_step_was_ordered_is_no_news() {
    let world = world().await;
    world.begin().await;
    let node = world.store.node(world.plan.machines[1].node).await.unwrap();
    let commit = TurnCommit {
        node: &node,
        next: None,
        taken: None,
        done: None,
        power: Some(Some(PowerState::Off)),
        due_at: None,
        events: Vec::new(),
    };
    world.store.commit(commit, NOW - 30_000).await.unwrap();
    // It was switched on meanwhile, and nobody has looked since.
    let summary = world.run(1, |_: &str, _: &CloudStep| Some(done(true))).await.unwrap();
    assert_eq!(summary.steps, 4);
    let late = |key: &str, _: &CloudStep| {
        if key == "c" {
            world.clock.store(NOW + POWER_IS_NEWS_MS + 1, Ordering::Relaxed);
            return None;
        }
        Some(done(true))
    };
    let error = world.run(2, late).await.unwrap_err();
    assert!(matches!(error, RolloutError::SwitchedOff { .. }), "{error}");
}

#[tokio::test]
async fn a_step_that_is_never_reported_ends_though_its_agent_calls() {
    let world = world().await;
    world.begin().await;
    // Whoever has a key of the machine is heard.
    let key = undercloud_store::fresh_secret().unwrap();
    let node = world.plan.machines[0].node;
    let put = world.store.put_order(node, AgentKind::Ramdisk, "k", &Step::Inspect, Some(&key), NOW);
    put.await.unwrap();
    let time = async {
        while !world.begun().contains(&"b".to_owned()) {
            tokio::task::yield_now().await;
        }
        loop {
            let now = world.clock.fetch_add(60_000, Ordering::Relaxed) + 60_000;
            assert!(now < NOW + 90 * 60_000, "it has no end");
            let poll = Poll {
                protocol: PROTOCOL_VERSION,
                boot_id: "boot".into(),
                busy: Vec::new(),
                ssh_host_key: None,
                health: None,
            };
            let caller = world.principal(0);
            world.store.agent_poll(&caller, &poll, Duration::ZERO, now).await.unwrap();
            // The rollout looks whenever something was written.
            tokio::task::yield_now().await;
        }
    };
    let work = |key: &str, _: &CloudStep| (key != "b").then(|| done(true));
    let error = tokio::select! {
        ended = world.run(1, work) => ended.unwrap_err(),
        () = time => unreachable!("time goes on for ever"),
    };
    let text = error.to_string();
    assert!(text.starts_with("controller-0: Do b: it was not over after 4"), "{text}");
    assert!(error.hint().contains("run the same command again"));
}

#[tokio::test]
async fn a_plan_of_another_version_is_told_from_one_that_can_be_carried_out() {
    let world = world().await;
    let mut kept = serde_json::to_value(&world.plan).unwrap();
    assert_eq!(Plan::read(&kept).unwrap(), world.plan);
    kept.as_object_mut().unwrap().remove("schema");
    assert_eq!(Plan::read(&kept).unwrap().steps, world.plan.steps);
    kept["schema"] = 99.into();
    kept["steps"] = "in words".into();
    let error = Plan::read(&kept).unwrap_err().to_string();
    assert!(error.contains("version 99") && error.contains("knows 1"), "{error}");
    kept["schema"] = 1.into();
    assert!(matches!(Plan::read(&kept).unwrap_err(), crate::plan::OtherPlan::Shape(_)));
}

#[tokio::test]
async fn a_step_for_a_machine_that_is_not_there_is_said_at_once() {
    let mut world = world().await;
    world.plan.steps[0].machine = name("nobody");
    world.begin().await;
    let error = world.run(1, |_: &str, _: &CloudStep| Some(done(true))).await.unwrap_err();
    assert!(matches!(error, RolloutError::NoMachine { .. }), "{error}");
}

#[tokio::test]
async fn what_a_service_reported_before_a_step_changed_it_is_not_believed() {
    use undercloud_model::agent::cloud::HealthCheck;
    let digest = format!("sha256:{}", "0".repeat(64));
    let setup = serde_json::json!({
        "kind": "apply_service", "name": "nova-compute", "summary": "s",
        "image": {"name": "libvirt", "digest": digest, "id": digest, "bytes": 1},
        "command": ["nova-compute"], "uid": 0, "environment": {}, "after": [], "modules": [],
        "privileges": {}, "stop": "all", "files": [], "volumes": [],
    });
    for changed in [true, false] {
        let mut world = world().await;
        world.plan.steps[1].step = serde_json::from_value(setup.clone()).unwrap();
        world.plan.steps[2].step = CloudStep::AwaitHealth(HealthCheck {
            service: "nova-compute".parse().unwrap(),
            probe: undercloud_model::agent::cloud::Probe::Unit,
            timeout_s: 1,
            anew: false,
        });
        world.begin().await;
        let told = Mutex::new(None);
        let work = |key: &str, step: &CloudStep| {
            if let CloudStep::AwaitHealth(check) = step {
                *told.lock().unwrap() = Some(check.anew);
            }
            Some(done(key == "a" || changed))
        };
        world.run(1, work).await.unwrap();
        assert_eq!(told.into_inner().unwrap(), Some(changed));
    }
}

/// The plan's first step is the agent's own update.
async fn with_update() -> World {
    let mut world = world().await;
    world.plan.steps[0].step = CloudStep::UpdateAgent { program: None };
    world.begin().await;
    world
}

#[tokio::test]
async fn an_agent_is_given_the_build_that_the_daemon_has_now() {
    let world = with_update().await;
    let given = Mutex::default();
    let summary = world.run(1, |key, step| {
        if key == "a" {
            *given.lock().unwrap() = Some(step.clone());
        }
        Some(done(true))
    });
    assert_eq!(summary.await.unwrap().changed, 4);
    let expected = CloudStep::UpdateAgent { program: Some(program()) };
    assert_eq!(given.into_inner().unwrap(), Some(expected));
    assert_eq!(world.begun(), ["a", "b", "c", "d"], "before all else");
}

#[tokio::test]
async fn an_older_agent_that_knows_no_update_does_the_rest() {
    let world = with_update().await;
    let unknown = |step: &CloudStep| match step {
        CloudStep::UpdateAgent { .. } => Some(Outcome::Failed(StepFailure::new(
            StepFailureKind::Unsupported,
            "agent 0.1.0 does not know the step `cloud update_agent` in this form",
        ))),
        _ => Some(done(true)),
    };
    let summary = world.run(1, |_, step| unknown(step)).await.unwrap();
    assert_eq!((summary.steps, summary.changed), (4, 3));
    let timeline = world.timeline().await;
    assert!(timeline[2].starts_with("controller-0: Do a: as it was, "), "{timeline:?}");
    assert!(timeline[2].contains("undercloud node agent restore controller-0"), "{timeline:?}");
    // Another step that an agent does not know is a failure.
    let failed = world.run(2, |key, step| match key {
        "b" => Some(Outcome::Failed(StepFailure::new(StepFailureKind::Unsupported, "unknown"))),
        _ => unknown(step),
    });
    assert!(matches!(failed.await, Err(RolloutError::Step { .. })));
}

#[tokio::test]
async fn an_agent_that_could_not_be_replaced_ends_the_run_with_its_sentence() {
    let world = with_update().await;
    let error = world.run(1, |_, _| Some(failed("it did not reach the daemon"))).await.unwrap_err();
    assert_eq!(error.to_string(), "controller-0: Do a: it did not reach the daemon");
    assert_eq!(world.begun(), ["a"], "nothing else was begun");
}
