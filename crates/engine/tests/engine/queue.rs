//! Many machines, and BMCs that do not answer: they cost the others nothing, they are asked less and
//! less often, and who waits longest is first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tempfile::TempDir;
use tokio::sync::watch;
use undercloud_engine::{
    AgentEndpoint, Bmc, BmcFactory, BmcFault, BmcTarget, Engine, EngineDeps, EngineHandle, Limits,
    PowerOrder,
};
use undercloud_image::blob::Blobs;
use undercloud_model::{
    BootDevice, BootMode, PowerAction, PowerState,
    node::{NewNode, Next, Policy, ProvisionState as S, RawNode, Verb},
};
use undercloud_store::{Open, ProvisioningRange, Requested, Store, TurnCommit};

use crate::{
    lab::HANGS,
    rack::{FakeClock, password},
};

const MINUTE: i64 = 60_000;

/// All BMCs, by port.
struct Farm {
    state: Mutex<State>,
    connects: watch::Sender<u64>,
    /// Changes when one may speak again.
    freed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// They take the connection and say nothing.
    mute: HashSet<u16>,
    /// They say at once that nobody is there.
    gone: HashSet<u16>,
    on: HashSet<u16>,
    order: Vec<u16>,
}

impl Farm {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A BMC that said nothing answers those who wait for it.
    fn free(&self, port: u16) {
        self.state().mute.remove(&port);
        self.freed.send_modify(|n| *n += 1);
    }

    async fn speaks(&self, port: u16) {
        let mut freed = self.freed.subscribe();
        let may = freed.wait_for(|_| !self.state().mute.contains(&port)).await;
        may.expect("the farm is there");
    }

    fn connects_to(&self, port: u16) -> usize {
        self.state().order.iter().filter(|p| **p == port).count()
    }

    /// Waits until this BMC was asked so often.
    async fn asked(&self, port: u16, times: usize) {
        let mut connects = self.connects.subscribe();
        while self.connects_to(port) < times {
            tokio::time::timeout(HANGS, connects.changed()).await.expect("it hangs").unwrap();
        }
    }
}

struct Session(Arc<Farm>, u16);

struct Farmer(Arc<Farm>);

#[async_trait]
impl BmcFactory for Farmer {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        let port = target.port;
        let gone = {
            let mut state = self.0.state();
            state.order.push(port);
            state.gone.contains(&port)
        };
        self.0.connects.send_modify(|n| *n += 1);
        self.0.speaks(port).await;
        if gone {
            return Err(BmcFault::Silent("nobody".into()));
        }
        Ok(Box::new(Session(self.0.clone(), port)))
    }
}

#[async_trait]
impl Bmc for Session {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        let on = self.0.state().on.contains(&self.1);
        Ok(if on { PowerState::On } else { PowerState::Off })
    }

    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault> {
        let mut state = self.0.state();
        match order {
            PowerOrder::On => state.on.insert(self.1),
            PowerOrder::Off | PowerOrder::SoftOff => state.on.remove(&self.1),
        };
        Ok(())
    }

    async fn set_boot_device(
        &mut self,
        _device: BootDevice,
        _mode: BootMode,
        _persistent: bool,
    ) -> Result<(), BmcFault> {
        Ok(())
    }

    async fn insert_media(&mut self, _url: &str) -> Result<(), BmcFault> {
        Ok(())
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        Ok(())
    }

    async fn close(&mut self) {}
}

struct Hall {
    dir: TempDir,
    store: Store,
    clock: FakeClock,
    farm: Arc<Farm>,
    engine: Option<EngineHandle>,
}

impl Hall {
    /// Manageable machines with BMCs at these ports.
    async fn with(ports: impl IntoIterator<Item = u16>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = FakeClock::new();
        let store = Store::open(path(&dir, "db"), Open::at(clock.now())).await.unwrap();
        let range = ProvisioningRange {
            network: "10.20.0.0/16".parse().unwrap(),
            first: "10.20.0.10".parse().unwrap(),
            last: "10.20.200.10".parse().unwrap(),
        };
        store.set_provisioning_range(&range).await.unwrap();
        for port in ports {
            let [high, low] = port.to_be_bytes();
            let new = NewNode::try_from(RawNode {
                name: name(port),
                bmc_address: "127.0.0.1".into(),
                bmc_port: Some(port.into()),
                bmc_user: "admin".into(),
                bmc_password: password(),
                macs: vec![format!("52:54:00:00:{high:02x}:{low:02x}")],
                ..RawNode::default()
            });
            let node = store.enrol_node(new.unwrap(), clock.now()).await.unwrap();
            let next = Next::to(&node, S::Manageable, clock.now());
            let commit = TurnCommit {
                node: &node,
                next: Some(&next),
                taken: None,
                done: None,
                power: None,
                due_at: None,
                events: Vec::new(),
            };
            store.commit(commit, clock.now()).await.unwrap();
        }
        let (connects, freed) = (watch::Sender::new(0), watch::Sender::new(0));
        let farm = Farm { state: Mutex::default(), connects, freed };
        Self { dir, store, clock, farm: Arc::new(farm), engine: None }
    }

    fn start(&mut self, limits: Limits) {
        let clock = self.clock.clone();
        self.engine = Some(Engine::start(EngineDeps {
            store: self.store.clone(),
            clock: Arc::new(move || clock.now()),
            bmc: Arc::new(Farmer(self.farm.clone())),
            blobs: Blobs::open(path(&self.dir, "blobs")).unwrap(),
            media: String::new(),
            agents: AgentEndpoint { api: String::new(), ca_pem: String::new() },
            policy: Policy::default(),
            limits,
        }));
    }

    fn advance(&self, ms: i64) {
        self.clock.advance(ms);
        self.engine.as_ref().unwrap().wake();
    }

    async fn ask(&self, port: u16, verb: Verb) -> Requested {
        self.store.request(name(port), verb, self.clock.now()).await.unwrap()
    }

    async fn settled(&self, asked: &Requested) -> Option<PowerState> {
        self.store.wait_settled(asked, HANGS).await.unwrap().expect("it hangs").power
    }
}

fn name(port: u16) -> String {
    format!("m-{port}")
}

fn path(dir: &TempDir, name: &str) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap()
}

/// No look is tried twice, so that each is one connection.
fn limits() -> Limits {
    Limits {
        turns_max: 4,
        unheard_turns_max: 4,
        looks_max: 4,
        bmc_attempts_max: 1,
        power_look_every: Duration::from_millis(1),
        // Longer than a test: a BMC that says nothing holds its slot to the end.
        bmc_try_max: HANGS * 10,
        ..Limits::default()
    }
}

const ON: Verb = Verb::Power { action: PowerAction::On };

#[tokio::test]
async fn more_dead_bmcs_than_slots_keep_nobody_from_work() {
    let (dead, live) = (100..120, 200..203);
    let mut hall = Hall::with(dead.clone().chain(live.clone())).await;
    hall.farm.state().mute.extend(dead.clone());
    // Nobody is to be looked at but those: the live ones come after them in the queue, or before.
    hall.start(limits());
    let mut connects = hall.farm.connects.subscribe();
    let stuck = |hall: &Hall| hall.farm.state().order.iter().filter(|p| dead.contains(p)).count();
    while stuck(&hall) < 4 {
        tokio::time::timeout(HANGS, connects.changed()).await.expect("it hangs").unwrap();
    }
    for port in live {
        let asked = hall.ask(port, ON).await;
        assert_eq!(hall.settled(&asked).await, Some(PowerState::On), "{port}");
    }
    assert_eq!(stuck(&hall), 4, "every slot for looks is taken by one that says nothing");
}

#[tokio::test]
async fn work_with_bmcs_that_say_nothing_puts_off_nobody_else_s() {
    let (dead, live) = (100..120, 200..203);
    let mut hall = Hall::with(dead.clone().chain(live.clone())).await;
    hall.farm.state().gone.extend(dead.clone());
    hall.start(limits());
    for port in live.clone() {
        let power = hall.store.wait_for(name(port), HANGS, |node| node.power).await.unwrap();
        power.expect("its power is known");
    }
    for port in dead.clone() {
        hall.farm.asked(port, 1).await;
    }
    // From now on they hold whoever asks.
    hall.farm.state().gone.clear();
    hall.farm.state().mute.extend(dead.clone());
    for port in dead.clone() {
        hall.ask(port, ON).await;
    }
    let mut connects = hall.farm.connects.subscribe();
    let asked = |hall: &Hall| hall.farm.state().order.iter().filter(|p| dead.contains(p)).count();
    while asked(&hall) < dead.len() + 4 {
        tokio::time::timeout(HANGS, connects.changed()).await.expect("it hangs").unwrap();
    }
    for port in live {
        let asked = hall.ask(port, ON).await;
        assert_eq!(hall.settled(&asked).await, Some(PowerState::On), "{port}");
    }
    assert_eq!(asked(&hall), dead.len() + 4, "they have no more slots than theirs");
}

#[tokio::test]
async fn work_that_cannot_be_done_is_over_and_the_next_is_done() {
    let (dead, live) = (100..120, 200..203);
    let mut hall = Hall::with(dead.clone().chain(live.clone())).await;
    hall.farm.state().mute.extend(dead.clone());
    hall.start(Limits { bmc_try_max: Duration::from_millis(20), ..limits() });
    for port in dead {
        hall.ask(port, ON).await;
    }
    for port in live {
        let asked = hall.ask(port, ON).await;
        assert_eq!(hall.settled(&asked).await, Some(PowerState::On), "{port}");
    }
}

#[tokio::test]
async fn a_bmc_that_does_not_answer_is_asked_less_and_less_often() {
    let (dead, live) = (100, 200);
    let mut hall = Hall::with([dead, live]).await;
    hall.farm.state().gone.insert(dead);
    hall.start(limits());
    hall.farm.asked(dead, 1).await;
    for (minute, times) in (1..).zip([2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5]) {
        hall.advance(MINUTE);
        hall.farm.asked(dead, times).await;
        // Whoever is due is found in one look at the queue: by then it would have been asked again.
        let asked = hall.ask(live, ON).await;
        hall.settled(&asked).await;
        assert_eq!(hall.farm.connects_to(dead), times, "minute {minute}");
    }
    // It is back: from the next look on it is asked as often as the others.
    hall.farm.state().gone.clear();
    hall.advance(16 * MINUTE);
    hall.farm.asked(dead, 6).await;
    hall.store
        .wait_for(name(dead), HANGS, |node| node.power)
        .await
        .unwrap()
        .expect("its power is known");
    hall.advance(MINUTE);
    hall.farm.asked(dead, 7).await;
}

#[tokio::test]
async fn who_waits_longest_is_first() {
    let ports = [105, 101, 104, 102, 103];
    let mut hall = Hall::with(ports).await;
    // Before the engine looks at anything.
    let mut asked = Vec::new();
    for port in ports {
        asked.push(hall.ask(port, ON).await);
        hall.clock.advance(1);
    }
    hall.start(Limits { unheard_turns_max: 1, looks_max: 0, ..limits() });
    for asked in &asked {
        assert_eq!(hall.settled(asked).await, Some(PowerState::On));
    }
    let mut order = hall.farm.state().order.clone();
    order.dedup();
    assert_eq!(order, ports);
}

#[tokio::test]
async fn of_a_thousand_idle_machines_only_those_that_are_due_are_looked_at() {
    let mut hall = Hall::with(1000..2000).await;
    hall.start(Limits { looks_max: 32, ..limits() });
    let mut connects = hall.farm.connects.subscribe();
    let all = |hall: &Hall| hall.farm.state().order.len();
    while all(&hall) < 1000 {
        tokio::time::timeout(HANGS, connects.changed()).await.expect("it hangs").unwrap();
    }
    let asked = hall.ask(1500, ON).await;
    assert_eq!(hall.settled(&asked).await, Some(PowerState::On));
    let counts = hall.farm.state().order.iter().fold(HashMap::new(), |mut counts, port| {
        *counts.entry(*port).or_insert(0) += 1;
        counts
    });
    assert!(counts.iter().all(|(port, count)| *port == 1500 || *count == 1), "each once");
}

#[tokio::test]
async fn a_look_that_sees_what_is_known_writes_nothing_and_asks_the_store_once() {
    const COUNT: u16 = 100;
    let ports = 1000..1000 + COUNT;
    let mut hall = Hall::with(ports.clone()).await;
    hall.start(limits());
    let all_asked = async |hall: &Hall, times| {
        for port in ports.clone() {
            hall.farm.asked(port, times).await;
        }
    };
    // The first look writes what it saw; it has ended when the second begins.
    all_asked(&hall, 1).await;
    hall.advance(MINUTE);
    all_asked(&hall, 2).await;
    let uses = |hall: &Hall| hall.store.uses().borrow().ever;
    let (writes, before) = (hall.store.writes(), uses(&hall));
    hall.advance(MINUTE);
    all_asked(&hall, 3).await;
    hall.advance(MINUTE);
    all_asked(&hall, 4).await;
    assert_eq!(hall.store.writes(), writes);
    // One for each look, and a few for each time that the clock goes on.
    let used = uses(&hall) - before;
    assert!(used <= 2 * u64::from(COUNT) + 40, "{used} for {} looks", 2 * COUNT);
}

#[tokio::test]
async fn what_is_asked_for_during_a_look_is_done_after_it() {
    let (looked_at, other) = (100, 200);
    let mut hall = Hall::with([looked_at, other]).await;
    hall.start(limits());
    for port in [looked_at, other] {
        let power = hall.store.wait_for(name(port), HANGS, |node| node.power).await.unwrap();
        assert_eq!(power, Some(PowerState::Off));
    }
    hall.farm.state().mute.insert(looked_at);
    hall.advance(MINUTE);
    hall.farm.asked(looked_at, 2).await;
    let asked = hall.ask(looked_at, ON).await;
    // By then the engine knows of it, and that nothing can be done now.
    let later = hall.ask(other, ON).await;
    assert_eq!(hall.settled(&later).await, Some(PowerState::On));
    // The look sees what is known and writes nothing, and the clock stands still.
    hall.farm.free(looked_at);
    assert_eq!(hall.settled(&asked).await, Some(PowerState::On));
}
