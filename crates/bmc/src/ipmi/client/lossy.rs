//! The console's dialogue with a real controller's sessions over a link that loses, repeats and
//! reorders, by a clock that only the simulation moves.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    ClientError, ErrorKind, Options,
    dialogue::{Ask, Dialogue, KEEP_ALIVE, Out, Twice},
    power::{Next, Power},
};
use crate::ipmi::{
    credentials::Credentials,
    guid::Guid,
    machine::{PowerAction, PowerState},
    msg::{chassis_control, get_chassis_status, get_device_id, lan::LanResponse},
    random::Random,
    session::{self, Reply, Request, Sessions},
    wire::{Command, Decode as _},
};

/// A simulated hour: no dialogue takes longer.
const PATIENCE: Duration = Duration::from_secs(3600);

fn credentials() -> Credentials {
    Credentials::new("admin", "sixteen-letters!").expect("credentials")
}

fn console_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

/// How bad the link is, in 256ths.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    lost: u8,
    repeated: u8,
    delayed: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToController,
    ToConsole,
}

/// When it arrives, which one it is, where it goes, and what it is.
type Item = (Duration, u64, Way, Vec<u8>);

/// Two ends, and datagrams on their way.
struct World {
    now: Duration,
    chance: Random,
    faults: Faults,
    on_their_way: BinaryHeap<Reverse<Item>>,
    count: u64,
    controller: Sessions,
    power: PowerState,
    /// Every action that the controller's machine has done.
    done: Vec<PowerAction>,
    /// Whether the controller answers at all.
    is_dead: bool,
    console: Dialogue,
    /// How often each harmful datagram was sent.
    harmful: HashMap<Vec<u8>, u32>,
    results: Vec<Result<LanResponse, ClientError>>,
}

impl World {
    fn new(seed: u8, faults: Faults) -> Self {
        let options = Options { timeout_ms: 1000, attempts_max: 4, ..Options::default() };
        let address = SocketAddr::from(([192, 0, 2, 2], 623));
        Self {
            now: Duration::from_secs(100),
            chance: Random::new(&[seed; 32]),
            faults,
            on_their_way: BinaryHeap::new(),
            count: 0,
            controller: Sessions::new(credentials(), Guid([9; 16]), Random::new(&[seed ^ 1; 32])),
            power: PowerState::On,
            done: Vec::new(),
            is_dead: false,
            console: Dialogue::new(address, credentials(), options, Random::new(&[seed ^ 2; 32])),
            harmful: HashMap::new(),
            results: Vec::new(),
        }
    }

    fn happens(&mut self, likely: u8) -> bool {
        self.chance.block()[0] < likely
    }

    fn put(&mut self, way: Way, bytes: &[u8]) {
        let copies = if self.happens(self.faults.repeated) { 2 } else { 1 };
        for _ in 0..copies {
            if self.happens(self.faults.lost) {
                continue;
            }
            let mut delay = Duration::from_millis(5);
            if self.happens(self.faults.delayed) {
                let [low, high, ..] = self.chance.block();
                delay += Duration::from_millis(u64::from(u16::from_le_bytes([low, high]) / 8));
            }
            self.count += 1;
            let item: Item = (self.now + delay, self.count, way, bytes.to_vec());
            self.on_their_way.push(Reverse(item));
        }
    }

    fn take_console(&mut self, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Send(bytes) => {
                    if self.console.is_asking_harmfully() {
                        *self.harmful.entry(bytes.clone()).or_default() += 1;
                    }
                    self.put(Way::ToController, &bytes);
                }
                Out::Done(result) => self.results.push(result),
            }
        }
    }

    fn take_controller(&mut self, outs: Vec<session::Out>) {
        for out in outs {
            match out {
                session::Out::Send { bytes, .. } => self.put(Way::ToConsole, &bytes),
                session::Out::Deliver { ticket, request } => {
                    let reply = self.execute(&request);
                    let outs = self.controller.on_reply(ticket, &reply);
                    self.take_controller(outs);
                }
                session::Out::Reset(_)
                | session::Out::LoginFailed { .. }
                | session::Out::OpenSerial(_)
                | session::Out::SerialBreak(_) => {
                    panic!("nobody asked for that")
                }
            }
        }
    }

    fn execute(&mut self, request: &Request) -> Reply {
        match request.command {
            chassis_control::Request::CODE if request.netfn == chassis_control::Request::NETFN => {
                let order = chassis_control::Request::decode(&request.data).expect("an order");
                self.done.push(order.action);
                match order.action {
                    PowerAction::Off | PowerAction::Soft => self.power = PowerState::Off,
                    PowerAction::On | PowerAction::Cycle | PowerAction::Reset => {
                        self.power = PowerState::On;
                    }
                    PowerAction::Diag => {}
                }
                Reply::ok(&chassis_control::Response)
            }
            get_chassis_status::Request::CODE
                if request.netfn == get_chassis_status::Request::NETFN =>
            {
                let power = u8::from(self.power == PowerState::On);
                Reply {
                    completion: crate::ipmi::completion::Completion::OK,
                    data: vec![power, 0, 0],
                }
            }
            // Get Device ID.
            _ => Reply {
                completion: crate::ipmi::completion::Completion::OK,
                data: vec![0x20, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0],
            },
        }
    }

    /// Moves the clock to what happens next, but not past `end`; `false` when that is nothing.
    fn step(&mut self, end: Duration) -> bool {
        let arrives = self.on_their_way.peek().map(|Reverse((at, ..))| *at);
        let deadlines = [arrives, self.console.deadline(), self.controller.next_deadline()];
        let Some(next) = deadlines.into_iter().flatten().min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrives == Some(next) {
            let Some(Reverse((_, _, way, bytes))) = self.on_their_way.pop() else { return false };
            match way {
                Way::ToController if self.is_dead => {}
                Way::ToController => {
                    let outs = self.controller.on_datagram(&bytes, console_address(), self.now);
                    self.take_controller(outs);
                }
                Way::ToConsole => {
                    let outs = self.console.on_datagram(&bytes, self.now);
                    self.take_console(outs);
                }
            }
        } else if self.console.deadline() == Some(next) {
            let outs = self.console.on_deadline(self.now);
            self.take_console(outs);
        } else {
            let outs = self.controller.on_deadline(self.now);
            self.take_controller(outs);
        }
        true
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    fn result(&mut self) -> Result<LanResponse, ClientError> {
        let end = self.now + PATIENCE;
        while self.results.is_empty() {
            assert!(self.step(end), "the dialogue does not end");
        }
        self.results.pop().expect("a result")
    }

    fn connect(&mut self) -> Result<LanResponse, ClientError> {
        let outs = self.console.connect(self.now);
        self.take_console(outs);
        self.result()
    }

    fn ask(&mut self, ask: Ask) -> Result<LanResponse, ClientError> {
        let outs = self.console.begin(ask, self.now);
        self.take_console(outs);
        self.result()
    }

    fn read(&mut self) -> Result<LanResponse, ClientError> {
        self.ask(Ask::new(&get_device_id::Request, Twice::Harmless))
    }

    fn power(&mut self, action: PowerAction) -> Result<LanResponse, ClientError> {
        let (mut power, mut ask) = Power::new(action);
        loop {
            let answer = self.ask(ask);
            match power.on_answer(answer) {
                Next::Ask(next) => ask = next,
                Next::Done(result) => return result,
            }
        }
    }

    /// The controller has restarted: it knows no session any more.
    fn forget(&mut self) {
        let seed = self.chance.block()[0];
        self.controller = Sessions::new(credentials(), Guid([9; 16]), Random::new(&[seed; 32]));
    }

    fn times(&self, action: PowerAction) -> usize {
        self.done.iter().filter(|done| **done == action).count()
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    (0u8..150, 0u8..150, 0u8..200).prop_map(|(lost, repeated, delayed)| Faults {
        lost,
        repeated,
        delayed,
    })
}

fn action() -> impl Strategy<Value = PowerAction> {
    prop_oneof![
        Just(PowerAction::On),
        Just(PowerAction::Off),
        Just(PowerAction::Cycle),
        Just(PowerAction::Reset),
        Just(PowerAction::Soft),
        Just(PowerAction::Diag),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the link does, and however often the controller forgets its sessions.
    #[test]
    fn a_power_cycle_is_executed_at_most_once(
        seed in any::<u8>(),
        faults in faults(),
        orders in proptest::collection::vec((action(), any::<bool>(), 0u64..120), 1..8),
    ) {
        let mut world = World::new(seed, faults);
        for (action, forgets, pause) in orders {
            if forgets {
                world.forget();
            }
            world.pass(Duration::from_secs(pause));
            let before = world.times(action);
            let result = world.power(action);
            // Also what is still on its way.
            world.pass(Duration::from_secs(30));
            let executed = world.times(action) - before;
            let may_repeat = matches!(action, PowerAction::On | PowerAction::Off);
            prop_assert!(may_repeat || executed <= 1, "{:?} executed {} times", action, executed);
            match result {
                Ok(_) if may_repeat => prop_assert_eq!(
                    world.power == PowerState::On, action == PowerAction::On
                ),
                Ok(_) => prop_assert!(executed == 1 || action == PowerAction::Soft),
                Err(error) => prop_assert!(
                    matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable),
                    "{:?}", error
                ),
            }
        }
        for (_, sent) in world.harmful {
            prop_assert_eq!(sent, 1, "a harmful datagram was sent again");
        }
    }

    /// A link that is not much worse than a real one is no reason to fail.
    #[test]
    fn what_may_be_asked_twice_is_answered(seed in any::<u8>(), forgets in any::<bool>()) {
        let faults = Faults { lost: 13, repeated: 50, delayed: 25 };
        let mut world = World::new(seed, faults);
        let mut failed = Vec::new();
        for _ in 0..20 {
            if forgets {
                world.forget();
            }
            failed.extend(world.read().err());
        }
        prop_assert!(failed.len() <= 1, "{failed:?}");
    }
}

#[test]
fn nobody_there_is_known_after_all_attempts_and_no_later() {
    let mut world = World::new(1, Faults::default());
    world.is_dead = true;
    let (started, sent) = (world.now, world.count);
    let error = world.connect().expect_err("dead");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let took = world.now - started;
    // Four times 1.25 s, each less a quarter at most.
    assert!(Duration::from_millis(3750) <= took && took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(world.count - sent, 4, "all attempts");
}

#[test]
fn who_has_answered_once_is_given_more_time() {
    let mut world = World::new(1, Faults::default());
    world.connect().expect("connect");
    world.is_dead = true;
    let started = world.now;
    let error = world.read().expect_err("dead");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let took = world.now - started;
    // 1 + 2 + 4 + 4 s for the question, and as much for the new session.
    assert!(Duration::from_millis(16_500) <= took && took <= Duration::from_secs(22), "{took:?}");
}

#[test]
fn a_slow_handshake_of_who_is_there_is_waited_for() {
    let mut world = World::new(1, Faults::default());
    let outs = world.console.connect(world.now);
    world.take_console(outs);
    // It answers the first question, and then nothing.
    while world.count < 3 {
        assert!(world.step(PATIENCE), "it answers");
    }
    world.is_dead = true;
    let started = world.now;
    let error = world.result().expect_err("dead");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert!(world.now - started >= Duration::from_millis(8250), "{:?}", world.now - started);
}

#[test]
fn a_session_in_use_lives_and_one_that_is_not_ends() {
    let mut world = World::new(2, Faults::default());
    world.connect().expect("connect");
    let end = world.now + Duration::from_secs(1800);
    world.console.keep_until(end);
    let number = world.console.session.as_ref().map(|session| session.controller_id);
    for _ in 0..30 {
        world.pass(Duration::from_secs(60));
        assert_eq!(world.controller.open(), 1, "kept alive");
    }
    assert_eq!(world.console.session.as_ref().map(|session| session.controller_id), number);
    assert_eq!(world.console.deadline(), None, "nobody uses it any more");
    world.pass(Duration::from_secs(120));
    assert_eq!(world.controller.open(), 0, "it has ended");
    world.read().expect("logs in again");
    assert_eq!(world.controller.open(), 1);
    assert_ne!(world.console.session.as_ref().map(|session| session.controller_id), number);
}

#[test]
fn keep_alive_is_silent_while_there_is_talk() {
    let mut world = World::new(3, Faults::default());
    world.connect().expect("connect");
    world.console.keep_until(world.now + PATIENCE);
    let before = world.count;
    for _ in 0..10 {
        world.pass(KEEP_ALIVE / 2);
        world.read().expect("device id");
    }
    assert_eq!(world.count - before, 20, "ten questions, ten answers");
}

#[test]
fn a_forgotten_session_is_found_out_before_a_cycle() {
    let mut world = World::new(4, Faults::default());
    world.connect().expect("connect");
    world.pass(Duration::from_secs(16));
    world.forget();
    world.power(PowerAction::Cycle).expect("looks first, then logs in again");
    assert_eq!(world.done, [PowerAction::Cycle]);
}

#[test]
fn an_order_whose_answer_is_lost_is_looked_for() {
    let mut world = World::new(5, Faults::default());
    world.connect().expect("connect");
    // Just forgotten, so that nobody looks first: the order is lost.
    world.forget();
    world.power(PowerAction::Off).expect("off, by a second order");
    assert_eq!(
        (world.power, world.done.as_slice()),
        (PowerState::Off, [PowerAction::Off].as_slice())
    );
    world.forget();
    let error = world.power(PowerAction::Reset).expect_err("nobody knows");
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(world.times(PowerAction::Reset), 0);
}
