//! Random lives: whatever happens in whatever order, the invariants hold, and a node is never
//! stuck without a deadline.

use proptest::prelude::*;

use super::*;
use crate::{
    PowerAction, PowerState,
    agent::{Outcome, StepFailure, StepFailureKind},
};

#[derive(Debug, Clone)]
enum Happens {
    Verb(Verb),
    ActionEnds,
    ActionFails,
    Fetched,
    Hello,
    ReportDone,
    ReportFailed,
    InstalledCalls,
    Seen(PowerState),
    SecretReused,
    Time { ms: i64 },
}

fn happens() -> impl Strategy<Value = Happens> {
    let verb = prop_oneof![
        Just(Verb::Manage),
        Just(Verb::Inspect),
        Just(Verb::Provide { wipe: WipeScope::default() }),
        Just(Verb::Deploy(Box::new(request()))),
        Just(Verb::Undeploy),
        Just(Verb::Abort),
        Just(Verb::Power { action: PowerAction::Cycle }),
        Just(Verb::Power { action: PowerAction::Off }),
    ];
    prop_oneof![
        6 => verb.prop_map(Happens::Verb),
        12 => Just(Happens::ActionEnds),
        1 => Just(Happens::ActionFails),
        3 => Just(Happens::Fetched),
        6 => Just(Happens::Hello),
        8 => Just(Happens::ReportDone),
        1 => Just(Happens::ReportFailed),
        3 => Just(Happens::InstalledCalls),
        1 => Just(Happens::Seen(PowerState::Off)),
        2 => Just(Happens::Seen(PowerState::On)),
        1 => Just(Happens::SecretReused),
        2 => (0i64..5_000_000).prop_map(|ms| Happens::Time { ms }),
    ]
}

/// What the store and the world keep beside the node.
struct World {
    node: Node,
    actions: Vec<Action>,
    now: UnixMillis,
    ramdisk: Option<UnixMillis>,
    window: bool,
    fetched: bool,
    writes: u32,
    /// Since the node rested last.
    boots: u32,
}

impl World {
    fn new(by_media: bool) -> Self {
        let boot_interface =
            if by_media { BootInterface::RedfishVirtualMedia } else { BootInterface::Ipxe };
        let node = Node { boot_interface, ..node() };
        Self {
            node,
            actions: Vec::new(),
            now: NOW,
            ramdisk: None,
            window: false,
            fetched: false,
            writes: 0,
            boots: 0,
        }
    }

    fn event(&mut self, happens: &Happens) -> Option<Event> {
        Some(match happens {
            Happens::Verb(verb) => Event::Verb { request: verb.clone() },
            Happens::ActionEnds => Event::ActionDone { done: done(self.actions.first()?) },
            Happens::ActionFails => {
                self.actions.first()?;
                Event::ActionFailed { failure: Failure::new(FailureKind::BmcUnreachable, "") }
            }
            Happens::Hello if self.window => {
                self.ramdisk = Some(self.now);
                Event::AgentHello
            }
            Happens::Hello => return None,
            Happens::Fetched if self.window => {
                self.fetched = true;
                Event::RamdiskFetched
            }
            Happens::Fetched => return None,
            Happens::ReportDone | Happens::ReportFailed => {
                self.ramdisk?;
                let Phase::Ordered { work, step } = &self.node.phase else { return None };
                let failed = StepFailure::new(StepFailureKind::DiskIo, "x");
                let outcome = match happens {
                    Happens::ReportDone => Outcome::Done(result_of(work)),
                    _ => Outcome::Failed(failed),
                };
                Event::StepReported { step: *step, outcome: Box::new(outcome) }
            }
            Happens::InstalledCalls => Event::InstalledCalled,
            Happens::Seen(power) => Event::PowerObserved { power: *power },
            Happens::SecretReused => Event::SecretReused,
            Happens::Time { ms } => {
                self.now += ms;
                Event::Tick
            }
        })
    }

    fn live(&mut self, event: &Event, policy: &Policy) {
        let boot_progress =
            if self.fetched { BootProgress::Ramdisk } else { BootProgress::default() };
        let ctx =
            Context { now: self.now, ramdisk_seen_at: self.ramdisk, boot_progress, ..ctx(policy) };
        let next = match step(&self.node, event, &ctx) {
            Step::Stay(_) => {
                // A result of an action is never lost while the action is pending.
                if matches!(event, Event::ActionDone { .. } | Event::ActionFailed { .. }) {
                    panic!("{event:?} was ignored in {:?}", self.node.phase);
                }
                return;
            }
            Step::Go(next) => *next,
            Step::Fail(failure) => {
                let next = fail(&self.node, &failure, self.now);
                assert!(next.node.state.is_stable());
                assert_eq!(next.node.last_error.as_ref().unwrap().kind, failure.kind);
                next
            }
        };
        self.check(&next);
        for effect in &next.effects {
            match effect {
                Effect::OpenBootWindow { until } => {
                    assert!(*until > self.now);
                    (self.window, self.ramdisk, self.fetched) = (true, None, false);
                    self.boots += 1;
                    assert!(self.boots <= 2, "a boot is tried twice, no more");
                }
                Effect::EndRamdisk => (self.window, self.ramdisk) = (false, None),
                Effect::RevokeMachineKey | Effect::DisksAreEmpty | Effect::EndApprovals => {}
            }
        }
        self.node = next.node;
        if !self.node.is_busy() {
            self.boots = 0;
        }
        self.actions = next.actions;
    }

    fn check(&mut self, next: &Next) {
        let Next { node, actions, effects } = next;
        assert_eq!(node.visit, self.node.visit + 1, "each transition has keys of its own");
        assert!(actions.len() <= 1, "one thing at a time");
        assert_eq!(node.deadline.is_some(), node.phase != Phase::Idle, "no wait without end");
        if node.state.is_stable() {
            assert_eq!(node.target, None);
            assert!(matches!(node.phase, Phase::Idle | Phase::Errand { .. }));
        } else {
            assert!(node.target.is_some_and(ProvisionState::is_stable));
            assert_ne!(node.phase, Phase::Idle);
        }
        if node.state.is_failed() {
            assert!(node.last_error.is_some());
        }
        let waits = matches!(
            node.phase,
            Phase::Idle | Phase::AgentBoots | Phase::Ordered { .. } | Phase::InstalledBoots
        );
        assert_eq!(actions.is_empty(), waits, "{:?} with {actions:?}", node.phase);
        // A window is opened by the network boot's power-on; by the CD's insertion, if there is one.
        let opens = effects.iter().any(|e| matches!(e, Effect::OpenBootWindow { .. }));
        let opener = match node.boot_interface {
            BootInterface::Ipxe => (Phase::SwitchOn, Action::PowerOn),
            BootInterface::RedfishVirtualMedia => (Phase::InsertMedia, Action::InsertMedia),
        };
        assert_eq!(opens, node.phase == opener.0 && actions == &[opener.1]);
        if actions == &[Action::InsertMedia] {
            assert_eq!(self.node.phase, Phase::SwitchOff, "nothing that runs reads the secret");
        }
        let is_write = matches!(actions[..], [Action::Order { work: Work::Write { .. } }]);
        if is_write {
            let instance = node.instance.as_ref().unwrap();
            assert!(instance.written.is_none(), "a disk is not written twice");
            assert!(self.ramdisk.is_some(), "only a machine that runs our ramdisk is written");
            self.writes += 1;
        }
        if node.state == ProvisionState::Active && self.node.state != ProvisionState::Active {
            assert!(node.instance.as_ref().unwrap().written.is_some());
            assert!(self.writes > 0);
        }
        if node.state == ProvisionState::Deleting {
            assert!(effects.contains(&Effect::RevokeMachineKey));
        }
    }
}

fn done(action: &Action) -> Done {
    match action {
        Action::ReadPower | Action::PowerOn => Done::Power { power: PowerState::On },
        Action::PowerOff | Action::SoftOff => Done::Power { power: PowerState::Off },
        Action::SetBootDevice { .. } => Done::BootDevice,
        Action::InsertMedia | Action::EjectMedia => Done::Media,
        Action::Order { .. } => Done::Ordered { step: step_id() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(
        fast_track: bool,
        by_media: bool,
        life in proptest::collection::vec(happens(), 1..400),
    ) {
        let policy = Policy { fast_track, ..Policy::default() };
        let mut world = World::new(by_media);
        for happens in &life {
            if let Some(event) = world.event(happens) {
                world.live(&event, &policy);
            }
            if world.ramdisk.is_some() && matches!(happens, Happens::Hello | Happens::ReportDone) {
                world.ramdisk = Some(world.now);
            }
        }
        // However it came here: when nothing happens any more, the clock ends it.
        for _ in 0..3 {
            if world.node.deadline.is_some() {
                world.now += 100_000_000;
                world.live(&Event::Tick, &policy);
            }
        }
        prop_assert!(!world.node.is_busy(), "{:?}", world.node.phase);
    }
}

/// The way that everybody hopes for, to know that the random lives can go it.
#[test]
fn the_good_life() {
    for (fast_track, by_media) in [(true, false), (false, false), (true, true), (false, true)] {
        let policy = Policy { fast_track, ..Policy::default() };
        let mut world = World::new(by_media);
        let verbs = [
            (Verb::Manage, ProvisionState::Manageable),
            (Verb::Inspect, ProvisionState::Manageable),
            (Verb::Provide { wipe: WipeScope::default() }, ProvisionState::Available),
            (Verb::Deploy(Box::new(request())), ProvisionState::Active),
            (Verb::Undeploy, ProvisionState::Available),
            (Verb::Deploy(Box::new(request())), ProvisionState::Active),
        ];
        for (verb, end) in verbs {
            let event = world.event(&Happens::Verb(verb)).unwrap();
            world.live(&event, &policy);
            let mut steps = 0;
            while world.node.is_busy() {
                let happens = match world.node.phase {
                    Phase::AgentBoots => Happens::Hello,
                    Phase::Ordered { .. } => Happens::ReportDone,
                    Phase::InstalledBoots => Happens::InstalledCalls,
                    _ => Happens::ActionEnds,
                };
                let event = world.event(&happens).unwrap();
                world.live(&event, &policy);
                steps += 1;
                assert!(steps < 50);
            }
            assert_eq!(world.node.state, end);
            assert_eq!(world.node.last_error, None);
        }
        assert_eq!(world.writes, 2);
        assert!(world.node.instance.unwrap().reported_at.is_some());
    }
}
