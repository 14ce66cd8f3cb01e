//! The machines, and the daemon that they can reach: store, engine, what looks after the clock and
//! after what is kept. The daemon dies, at a write or anywhere, and another comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use undercloud_engine::{AgentEndpoint, Engine, EngineDeps, EngineHandle, Limits};
use undercloud_image::blob::Blobs;
use undercloud_model::node::{Node, Policy};
use undercloud_store::{Halt, Keep, Open, Store};

use crate::{
    bmc::Bmcs,
    machine::Machine,
    random::Random,
    time::{Clock, Hold, hold_while},
};

const RETENTION_EVERY: Duration = Duration::from_secs(300);
const CLOCK_WATCH_EVERY: Duration = Duration::from_secs(1);
/// What the daemon's watch of the clock follows.
const SET_BY_MIN_MS: i64 = 2_000;

/// Little, so that much is over.
pub(crate) const KEEP: Keep = Keep {
    busy_events: 300,
    other_events: 300,
    orders: 2,
    boot_windows: 2,
    machine_keys: 1,
    deployments: 1,
    deployments_with_steps: 1,
    runs: 1,
    runs_with_steps: 1,
};

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) machines: Vec<Arc<Machine>>,
    first_port: u16,
    daemon: watch::Sender<Option<Store>>,
    sessions: AtomicUsize,
    pub(crate) sessions_most: AtomicUsize,
}

impl World {
    pub(crate) fn new(machines: Vec<Arc<Machine>>) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::new(),
            first_port: machines[0].port,
            machines,
            daemon: watch::Sender::new(None),
            sessions: AtomicUsize::new(0),
            sessions_most: AtomicUsize::new(0),
        })
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(crate) fn machine(&self, port: u16) -> Arc<Machine> {
        self.machines[usize::from(port - self.first_port)].clone()
    }

    /// The daemon's store, as soon as there is one.
    pub(crate) async fn store(&self) -> Store {
        let mut daemon = self.daemon.subscribe();
        let up = daemon.wait_for(Option::is_some).await.unwrap();
        up.clone().unwrap()
    }

    /// The node as the daemon's record has it, if that can be read now.
    pub(crate) async fn node(&self, name: &str) -> Option<Node> {
        let store = self.daemon.borrow().clone()?;
        store.node(name).await.ok()
    }

    pub(crate) fn begin_session(&self) {
        let sessions = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        self.sessions_most.fetch_max(sessions, Ordering::Relaxed);
    }

    pub(crate) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// As a daemon's, but for looks at machines that somebody waits for, every 30 s in place of every
/// 5 s: each is a dozen reads.
pub(crate) fn limits() -> Limits {
    Limits { power_poll_busy_ms: 30_000, ..Limits::default() }
}

/// A daemon that runs.
pub(crate) struct Daemon {
    pub(crate) store: Store,
    pub(crate) engine: EngineHandle,
    tasks: JoinSet<()>,
    time: tokio::task::JoinHandle<()>,
}

impl Daemon {
    /// Starts one on what the last has left.
    pub(crate) async fn start(world: &Arc<World>, dir: &Utf8Path, halt: Option<Halt>) -> Self {
        // It reads the host's clock anew.
        world.clock.follow(world.clock.host_is_ahead());
        let store = open(dir, world, halt).await;
        let time = tokio::spawn(hold_while(store.uses()));
        for machine in &world.machines {
            let unread = std::mem::take(&mut machine.state().changes_unread);
            if unread.is_empty() {
                continue;
            }
            // Nothing was written since: it is the visit that ordered it.
            let visit = store.node(machine.name()).await.unwrap().visit;
            unread.into_iter().for_each(|to| machine.state().changed(visit, to));
        }
        let clock = world.clone();
        let engine = Engine::start(EngineDeps {
            store: store.clone(),
            clock: Arc::new(move || clock.now()),
            bmc: Arc::new(Bmcs(world.clone())),
            blobs: Blobs::open(dir.join("blobs")).unwrap(),
            media: String::new(),
            agents: AgentEndpoint {
                api: "https://192.168.24.1:8443".into(),
                ca_pem: "-----BEGIN CERTIFICATE-----".into(),
            },
            policy: Policy::default(),
            limits: limits(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_clock(world.clone(), store.clone()));
        tasks.spawn(keep(store.clone()));
        world.daemon.send_replace(Some(store.clone()));
        Self { store, engine, tasks, time }
    }

    /// Goes on until then, or until its engine ends at a write.
    pub(crate) async fn run_until(&mut self, until: Instant) {
        tokio::select! {
            ended = self.engine.ended() => assert!(
                matches!(ended, Err(undercloud_store::StoreError::Halted)), "{ended:?}"
            ),
            () = sleep_until(until) => {}
        }
    }

    /// It is killed: whatever it was at is left as it is.
    pub(crate) async fn kill(self, world: &World) {
        world.daemon.send_replace(None);
        let Self { store, engine, tasks, time } = self;
        drop((engine, tasks));
        let hold = Hold::begin();
        store.close().await;
        drop(hold);
        time.abort();
    }
}

async fn open(dir: &Utf8Path, world: &World, halt: Option<Halt>) -> Store {
    let _hold = Hold::begin();
    let open = Open { halt, ..Open::at(world.now()) };
    Store::open(dir.join("undercloud.sqlite"), open).await.unwrap()
}

/// As the daemon's `clock_watch`.
async fn watch_clock(world: Arc<World>, store: Store) {
    loop {
        sleep(CLOCK_WATCH_EVERY).await;
        let by_ms = world.clock.host_is_ahead();
        if by_ms.abs() >= SET_BY_MIN_MS {
            // A store that cannot be written has not followed: it is found again.
            let _ =
                store.clock_was_set(by_ms, world.now() + by_ms, |by| world.clock.follow(by)).await;
        }
    }
}

/// As the daemon's `retention`.
async fn keep(store: Store) {
    loop {
        sleep(RETENTION_EVERY).await;
        let _ = store.prune(&KEEP, "rollout/").await;
    }
}

/// Somebody sets the host's clock by hours, now and then.
pub(crate) async fn set_clocks(world: Arc<World>, random: Random) {
    loop {
        sleep(Duration::from_secs(random.within(60..1_800))).await;
        let ms = i64::try_from(random.within(30_000..6 * 3_600_000)).unwrap();
        world.clock.set_host(if random.chance(50) { ms } else { -ms });
    }
}

/// A directory in memory, where there is one: there is no power to fail.
pub(crate) fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}
