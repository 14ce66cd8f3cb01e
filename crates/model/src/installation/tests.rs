//! Every state with every event; one machine's steps; and random lives: whatever happens, with a
//! daemon that dies after any write, an installation ends or says what it waits for.

use proptest::prelude::*;

use super::*;
use crate::{
    PowerState,
    node::{
        FailureKind, LastError, Node, ProvisionState as S,
        tests::{inventory, node},
    },
};

const NOW: UnixMillis = 1_700_000_000_000;

fn plan() -> Digest {
    Digest::from_bytes([7; 32])
}

fn order(until: Until) -> Order {
    Order {
        description: "name = \"overcloud\"".into(),
        machines: vec!["controller-0".parse().unwrap(), "compute-0".parse().unwrap()],
        image: "overcloud-full".into(),
        ssh_keys: Vec::new(),
        until,
    }
}

fn failure() -> Failure {
    Failure { kind: ErrorKind::Unavailable, message: "x: so and so".into(), hint: None }
}

fn states() -> Vec<State> {
    vec![
        State::Inspecting,
        State::WaitsForApproval { plan: plan() },
        State::Machines,
        State::Installing,
        State::Verifying,
        State::Installed,
        State::Verified,
        State::Failed { during: Stage::Machines, failure: failure() },
        State::Replaced,
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::DaemonBegan,
        Event::AskedAgain,
        Event::Inspected { needs_approval: None },
        Event::Inspected { needs_approval: Some(plan()) },
        Event::MachinesActive,
        Event::RunDone,
        Event::ChecksPassed,
        Event::Failed(failure()),
        Event::TimeOver,
        Event::Replaced,
    ]
}

/// A row for each state, a word for each event in the order of [`events`]; `-` is a fault of ours.
const TABLE: [(&str, &str); 9] = [
    (
        "inspecting",
        "inspecting inspecting machines waits_for_approval - - - failed failed replaced",
    ),
    ("waits_for_approval", "waits_for_approval inspecting - - - - - failed - replaced"),
    ("machines", "machines machines - - installing - - failed failed replaced"),
    ("installing", "machines machines - - - verifying - failed failed replaced"),
    ("verifying", "verifying verifying - - - - verified failed failed replaced"),
    ("installed", "- - - - - - - - - -"),
    ("verified", "- - - - - - - - - -"),
    ("failed", "- - - - - - - - - -"),
    ("replaced", "- - - - - - - - - -"),
];

#[test]
fn every_event_in_every_state() {
    for (state, (word, row)) in states().into_iter().zip(TABLE) {
        let mut installation = Installation::new(1, order(Until::Verified), NOW);
        installation.deadline = deadline(&state, NOW);
        installation.state = state;
        assert_eq!(installation.state.word(), word);
        let seen: Vec<&str> = events()
            .into_iter()
            .map(|event| installation.on(event, NOW + 5).map_or("-", |next| next.state.word()))
            .collect();
        assert_eq!(seen.join(" "), row, "{word}");
    }
}

#[test]
fn one_that_nobody_wants_checked_ends_when_it_is_installed() {
    let mut installation = Installation::new(1, order(Until::Installed), NOW);
    installation.state = State::Installing;
    let next = installation.on(Event::RunDone, NOW).unwrap();
    assert_eq!((next.state.word(), next.is_over()), ("installed", true));
}

#[test]
fn what_was_asked_survives_a_daemon_and_not_the_state() {
    let asked = Asked { requests: 2, at: NOW };
    let mut installation = Installation::new(1, order(Until::Verified), NOW);
    installation.state = State::Machines;
    installation.asked.insert("compute-0".parse().unwrap(), asked);
    let later = NOW + 60_000;
    let resumed = installation.on(Event::DaemonBegan, later).unwrap();
    assert_eq!((resumed.asked.len(), resumed.since), (1, NOW));
    assert!(resumed.deadline > installation.deadline);
    assert!(installation.on(Event::MachinesActive, NOW).unwrap().asked.is_empty());
}

#[test]
fn a_deadline_that_is_over_is_a_sentence_with_a_remedy() {
    let installation = Installation::new(3, order(Until::Verified), NOW);
    let State::Failed { failure, .. } =
        installation.on(Event::TimeOver, NOW + 7_200_000).unwrap().state
    else {
        panic!("not failed")
    };
    assert_eq!(failure.message, "installation 3: its machines were not inspected within 120 min");
    assert!(failure.hint.unwrap().contains("undercloud status"));
}

#[test]
fn a_kept_installation_is_read_as_it_was_written() {
    for state in states() {
        let mut installation = Installation::new(1, order(Until::Verified), NOW);
        installation.state = state;
        let text = serde_json::to_string(&installation).unwrap();
        assert_eq!(serde_json::from_str::<Installation>(&text).unwrap(), installation);
    }
}

fn at(state: S, change: impl FnOnce(&mut Node)) -> Node {
    let mut node = Node { state, ..node() };
    change(&mut node);
    node
}

#[test]
fn a_settled_machine_is_asked_for_what_leads_on() {
    use Want as W;
    let inspected = |node: &mut Node| node.inventory = Some(inventory());
    let off = |node: &mut Node| node.power = Some(PowerState::Off);
    let on = |node: &mut Node| node.power = Some(PowerState::On);
    for (node, to_inspected, to_active) in [
        (at(S::Enroll, |_| {}), Some(W::Manage), Some(W::Manage)),
        (at(S::Manageable, |_| {}), Some(W::Inspect), Some(W::Inspect)),
        (at(S::InspectFailed, |_| {}), Some(W::Inspect), Some(W::Inspect)),
        (at(S::Manageable, inspected), None, Some(W::Provide)),
        (at(S::CleanFailed, inspected), None, Some(W::Provide)),
        (at(S::Available, inspected), None, Some(W::Deploy)),
        (at(S::DeployFailed, inspected), None, Some(W::Deploy)),
        (at(S::Error, inspected), None, Some(W::Undeploy)),
        (at(S::Active, off), None, Some(W::PowerOn)),
        (at(S::Active, on), None, None),
        (at(S::Active, |_| {}), None, None),
    ] {
        let to_on = to_active.filter(|want| *want == W::PowerOn);
        for (goal, wanted) in
            [(Goal::Inspected, to_inspected), (Goal::Active, to_active), (Goal::SwitchedOn, to_on)]
        {
            let expected = wanted.map_or(Step::Reached, Step::Ask);
            let asked = Asked::default();
            assert_eq!(step(&node, 0, asked, goal), expected, "{} {goal:?}", node.state);
            assert_eq!(step(&node, 1, asked, goal), Step::Wait, "{} {goal:?}", node.state);
            let often = Asked { requests: REQUESTS_MAX, at: NOW };
            let expected = wanted.map_or(Step::Reached, |_| Step::Circles);
            assert_eq!(step(&node, 0, often, goal), expected, "{} {goal:?}", node.state);
        }
    }
    for state in [S::Verifying, S::Inspecting, S::Cleaning, S::Deploying, S::Deleting] {
        let busy = at(state, |_| {});
        assert_eq!(step(&busy, 0, Asked::default(), Goal::Active), Step::Wait, "{state}");
    }
}

#[test]
fn what_failed_before_is_tried_again_and_what_failed_since_is_the_answer() {
    let error = LastError { kind: FailureKind::BmcUnreachable, text: "x: …".into(), at: NOW };
    let node = at(S::Enroll, |node| node.last_error = Some(error.clone()));
    let asked = |requests, at| Asked { requests, at };
    let next = |asked| step(&node, 0, asked, Goal::Active);
    assert_eq!(next(asked(0, 0)), Step::Ask(Want::Manage));
    assert_eq!(next(asked(1, NOW + 1)), Step::Ask(Want::Manage));
    assert_eq!(next(asked(1, NOW)), Step::Failed(error));
}

#[derive(Debug, Clone)]
enum Happens {
    /// The driver turns: one write at most.
    Turn,
    /// The process dies, and begins again.
    Crash,
    AskedAgain,
    Approved,
    /// The engine brings a machine's request to its end.
    Machine {
        which: usize,
        ok: bool,
    },
    Off(usize),
    Work {
        ok: bool,
    },
    Time {
        ms: i64,
    },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        12 => Just(Happens::Turn),
        2 => Just(Happens::Crash),
        1 => Just(Happens::AskedAgain),
        1 => Just(Happens::Approved),
        10 => (0usize..2, prop::bool::weighted(0.95))
            .prop_map(|(which, ok)| Happens::Machine { which, ok }),
        1 => (0usize..2).prop_map(Happens::Off),
        4 => prop::bool::weighted(0.95).prop_map(|ok| Happens::Work { ok }),
        1 => (0i64..5_000_000).prop_map(|ms| Happens::Time { ms }),
    ]
}

/// What the store and the world keep: nothing else outlives a daemon.
struct World {
    installation: Installation,
    nodes: Vec<(Node, Option<Want>)>,
    requests: Vec<Vec<Want>>,
    /// Whether the machines are somebody's, and nobody agreed yet.
    approval_missing: bool,
    runs: u32,
    now: UnixMillis,
}

impl World {
    fn new(approval_missing: bool) -> Self {
        let named = |name: &str| Node { name: name.parse().unwrap(), ..node() };
        Self {
            installation: Installation::new(1, order(Until::Verified), NOW),
            nodes: vec![(named("controller-0"), None), (named("compute-0"), None)],
            requests: vec![Vec::new(); 2],
            approval_missing,
            runs: 0,
            now: NOW,
        }
    }

    fn on(&mut self, event: Event) {
        self.installation = self.installation.on(event, self.now).unwrap();
    }

    /// One turn of the driver, as the daemon does it: at most one write, and no memory.
    fn turn(&mut self) {
        let Wants::MachinesAt(goal) = self.installation.wants() else { return };
        let mut reached = 0;
        for (number, (node, pending)) in self.nodes.iter_mut().enumerate() {
            let asked = self.installation.asked.get(&node.name).copied().unwrap_or_default();
            match step(node, u32::from(pending.is_some()), asked, goal) {
                Step::Wait => {}
                Step::Reached => reached += 1,
                Step::Ask(want) => {
                    assert!(pending.is_none(), "asked twice: {want:?} and {pending:?}");
                    *pending = Some(want);
                    self.requests[number].push(want);
                    let asked = Asked { requests: asked.requests + 1, at: self.now };
                    self.installation.asked.insert(node.name.clone(), asked);
                    return;
                }
                Step::Failed(error) => {
                    let (kind, message) = (ErrorKind::Unavailable, error.text);
                    return self.on(Event::Failed(Failure { kind, message, hint: None }));
                }
                Step::Circles => return self.on(Event::Failed(failure())),
            }
        }
        if reached == self.nodes.len() {
            match goal {
                Goal::Inspected => {
                    let needs_approval = self.approval_missing.then(plan);
                    self.on(Event::Inspected { needs_approval });
                }
                Goal::Active | Goal::SwitchedOn => self.on(Event::MachinesActive),
            }
        }
    }

    fn machine(&mut self, which: usize, ok: bool) {
        let (node, pending) = &mut self.nodes[which];
        let Some(want) = pending.take() else { return };
        self.now += 1;
        if !ok {
            let text = format!("{}: so and so", node.name);
            let (kind, at) = (FailureKind::BmcUnreachable, self.now);
            node.last_error = Some(LastError { kind, text, at });
            return;
        }
        match want {
            Want::Manage => node.state = S::Manageable,
            Want::Inspect => {
                node.state = S::Manageable;
                node.inventory = Some(inventory());
            }
            Want::Provide | Want::Undeploy => node.state = S::Available,
            Want::Deploy => (node.state, node.power) = (S::Active, Some(PowerState::On)),
            Want::PowerOn => node.power = Some(PowerState::On),
        }
    }

    fn happens(&mut self, what: &Happens) {
        match *what {
            Happens::Turn => self.turn(),
            Happens::Crash if !self.installation.is_over() => self.on(Event::DaemonBegan),
            Happens::AskedAgain if !self.installation.is_over() => self.on(Event::AskedAgain),
            Happens::Crash | Happens::AskedAgain => {}
            Happens::Approved => self.approval_missing = false,
            Happens::Machine { which, ok } => self.machine(which, ok),
            Happens::Off(which) => self.nodes[which].0.power = Some(PowerState::Off),
            Happens::Work { ok } => match (self.installation.wants(), ok) {
                (Wants::Run, true) => {
                    self.runs += 1;
                    self.on(Event::RunDone);
                }
                (Wants::Checks, true) => self.on(Event::ChecksPassed),
                (Wants::Run | Wants::Checks, false) => self.on(Event::Failed(failure())),
                (Wants::MachinesAt(_) | Wants::Person | Wants::Nothing, _) => {}
            },
            Happens::Time { ms } => {
                self.now += ms;
                if self.installation.deadline.is_some_and(|deadline| deadline <= self.now) {
                    self.on(Event::TimeOver);
                }
            }
        }
    }

    fn check(&self) {
        let installation = &self.installation;
        let waits = installation.wants() == Wants::Person;
        assert_eq!(installation.is_over() || waits, installation.deadline.is_none());
        if waits {
            assert!(installation.state.to_string().contains("--approve sha256:"));
        }
        for asked in installation.asked.values() {
            assert!(asked.requests <= REQUESTS_MAX);
        }
        assert!(self.runs <= 1, "the steps were done {} times", self.runs);
    }

    /// From here on all goes well.
    fn goes_well(&mut self) {
        for _ in 0..100 {
            self.turn();
            for which in 0..2 {
                self.machine(which, true);
            }
            self.happens(&Happens::Work { ok: true });
            self.check();
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_or_waits_for_a_person(
        approval_missing: bool,
        life in prop::collection::vec(happens(), 0..120),
    ) {
        let mut world = World::new(approval_missing);
        for what in &life {
            world.happens(what);
            world.check();
        }
        world.goes_well();
        let wants = world.installation.wants();
        let waits = wants == Wants::Person && world.approval_missing;
        // One that waited goes on when it is asked for again.
        let waited = wants == Wants::Person && !world.approval_missing;
        if waited {
            world.on(Event::AskedAgain);
            world.goes_well();
        }
        prop_assert!(world.installation.is_over() || waits, "{:?}", world.installation);
    }
}

#[test]
fn a_daemon_that_dies_after_any_write_repeats_nothing() {
    for dies_after in 0..60 {
        let mut world = World::new(false);
        for turn in 0..60 {
            world.turn();
            if turn == dies_after {
                // While a request is pending, and while it is under way.
                world.happens(&Happens::Crash);
                world.turn();
            }
            for which in 0..2 {
                world.machine(which, true);
            }
            world.happens(&Happens::Work { ok: true });
        }
        assert_eq!(world.installation.state, State::Verified, "{dies_after}");
        for requests in &world.requests {
            let wanted = [Want::Manage, Want::Inspect, Want::Provide, Want::Deploy];
            assert_eq!(*requests, wanted, "{dies_after}");
        }
        assert_eq!(world.runs, 1, "{dies_after}");
    }
}
