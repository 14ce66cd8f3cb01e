//! The daemon: wires store, engine, lab, BMCs, network boot and APIs together.
//!
//! It lives in the host's network namespace. What listens inside the lab's ([`site`]) is opened
//! there and handed over. It may be killed at any time: everything that matters is in the store,
//! and the lab's machines are processes of their own that it finds again.

mod admin;
mod agents;
pub(crate) mod bmc_access;
mod boots;
mod clock_watch;
mod cloud;
mod cloud_watch;
mod consent;
#[cfg(test)]
mod deaths;
mod descriptors;
mod domains;
mod image_shelf;
pub(crate) mod install_log;
pub(crate) mod installation;
pub(crate) mod journal;
mod kept_plan;
mod kinds;
mod lab_bmcs;
mod lab_nodes;
mod limits;
pub(crate) mod lock;
mod log_files;
mod media_drive;
pub(crate) mod openstack;
mod orphans;
mod own_images;
pub(crate) mod provisioning;
mod redfish;
mod registry;
mod retention;
mod running;
mod site;
pub(crate) mod site_definitions;
mod tasks;
#[cfg(test)]
mod test_node;
#[cfg(test)]
mod test_rack;
mod time_source;
mod troubles;
mod virtual_bmc;
mod watchdog;

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use undercloud_api::{
    ApiError, Clock,
    admin::Endpoint,
    serve::{self, Limits, Listener, bind_unix},
    tls::Authority,
};
use undercloud_bmc::redfish::link::Trust;
use undercloud_image::blob::Blobs;
use undercloud_model::ErrorKind;
use undercloud_store::{Open, Store};

use self::{
    admin::Admin,
    cloud::Clouds,
    domains::Domains,
    installation::{Installer, Real},
    lock::Lock,
    provisioning::Interface,
    redfish::Redfish,
    retention::Kept,
    site::{Site, SiteDeps},
    site_definitions::SiteDefinitions,
    tasks::{Group, Tasks},
    time_source::TimeSource,
    troubles::Troubles,
    watchdog::Heart,
};
use crate::{clock, failure::Failure, state::StateDir};

/// For the lab or the named interface to be opened before the daemon answers. What takes longer is
/// opened while it does.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// Between two tries to open what is closed.
const OPEN_EVERY: Duration = Duration::from_secs(60);
/// For requests under way when the daemon ends.
const REQUESTS_END_MAX: Duration = Duration::from_secs(8);
/// For everything together to end. systemd waits for longer (`packaging/undercloud.service`).
const END_MAX: Duration = Duration::from_secs(40);

/// Runs the daemon until it is asked to end. Machines of metal boot from `metal`, if there is one.
///
/// # Errors
/// When it cannot start, or a part of it ended by itself.
pub(crate) fn run(
    state: StateDir,
    metal: Option<Interface>,
    definitions: SiteDefinitions,
) -> Result<()> {
    state.create()?;
    let _lock = Lock::take(&state)?;
    // The log of a service has no colours, whatever the terminal; levels by RUST_LOG.
    let levels = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    // A line that its disk has no room for is lost. Saying so there would be a panic of the task
    // that wrote it.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let _already_set = tracing_subscriber::registry().with(lines.with_filter(levels)).try_init();
    descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let heart = Heart::default();
    let ended = runtime.block_on(serve_until_stopped(state, (metal, definitions), heart.clone()));
    heart.rest();
    // What still runs on a thread of its own is not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve_until_stopped(
    state: StateDir,
    (metal, definitions): (Option<Interface>, SiteDefinitions),
    heart: Heart,
) -> Result<()> {
    let tasks = Tasks::new(Clock::new(clock::now_ms));
    // Beats from the first step to the last, also while all else ends.
    let mut life = tasks.group(CancellationToken::new());
    heart.watch(watchdog::SILENCE_MAX, watchdog::abort).context("cannot start the watchdog")?;
    life.essential_part("heartbeat", heart.beat());
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let daemon = tokio::select! {
        biased;
        () = signals.next() => return Ok(()),
        daemon = Daemon::assemble(state, (metal, definitions), &tasks, &stop) => daemon?,
    };
    let ended = tokio::select! {
        biased;
        sentence = tasks.fatal() => {
            let failure = Failure::new(ErrorKind::Bug, sentence);
            Err(failure.hint("it can be started again: nothing is lost; the log has more").into())
        }
        () = stop.cancelled() => Ok(()),
        () = signals.next() => Ok(()),
    };
    stop.cancel();
    tokio::select! {
        biased;
        () = signals.next() => tracing::warn!("asked to end twice: it ends at once"),
        closed = timeout(END_MAX, daemon.close()) => match closed {
            Ok(()) => tracing::info!("daemon stopped"),
            Err(_) => tracing::warn!("daemon stopped before all of it had ended"),
        },
    }
    ended
}

/// What asks a daemon to end.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
        Ok(Self(terminate, interrupt))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// All of it, put together.
struct Daemon {
    admin: Arc<Admin>,
    /// What lives as long as the process.
    base: Group,
}

impl Daemon {
    async fn assemble(
        state: StateDir,
        (metal, definitions): (Option<Interface>, SiteDefinitions),
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let clock = Clock::new(clock::now_ms);
        let started_at = clock::now_ms();
        let store = Store::open(utf8(&state.database())?, Open::at(started_at)).await;
        let store = store.map_err(|error| {
            let error = agents::api_error(error);
            Failure { kind: error.kind, message: error.message, hint: error.hint }
        });
        let store = store.with_context(|| format!("the state {}", state.root().display()))?;
        let blobs = Blobs::open(utf8(&state.blobs())?)?;
        orphans::collect(&store, &blobs, orphans::GRACE).await?;
        let authority = Arc::new(Authority::open(&utf8(&state.pki())?, started_at)?);
        let troubles = Arc::new(Troubles::new(store.clone()));
        let clouds = Clouds::new(&state, store.clone(), authority.clone());
        let clouds = Arc::new(clouds.with(definitions.clone()));
        let redfish =
            Arc::new(Redfish::new(&state, store.clone(), authority.clone(), tasks.clone()));
        let trust = Trust::authorities([authority.pem().as_bytes()]);
        let trust = trust.context("our CA is no certificate")?;
        let domains = Domains::new(&state, redfish.clone(), trust, tasks.clone())?;
        let time = Arc::new(TimeSource::default());
        let site = Site::new(
            SiteDeps {
                state: state.clone(),
                store: store.clone(),
                blobs: blobs.clone(),
                authority: authority.clone(),
                redfish: redfish.clone(),
                clock: clock.clone(),
                tasks: tasks.clone(),
                troubles: troubles.clone(),
                time: time.clone(),
                definitions,
            },
            metal,
        );
        let socket = utf8(&state.socket())?;
        let identity = format!("https://127.0.0.1:{}/identity/v3", state.api_port());
        let endpoints = vec![
            Endpoint { name: "administration".into(), address: socket.to_string() },
            Endpoint { name: "identity, image".into(), address: identity },
        ];
        let (site, mut base) = (Arc::new(site), tasks.group(stop.clone()));
        time_source::begin(&mut base, &time);
        let ground = Real { site: site.clone(), state: state.clone(), blobs: blobs.clone() };
        let installer = Arc::new(Installer::new(clouds.clone(), Arc::new(ground)));
        let admin = Arc::new(Admin {
            state,
            store,
            blobs,
            site,
            domains,
            redfish,
            clouds,
            installer,
            tasks: tasks.clone(),
            troubles,
            started_at,
            endpoints,
        });
        let mut daemon = Self { admin, base };
        daemon.open(authority, clock, stop).await?;
        Ok(daemon)
    }

    /// Opens what listens. Only the administrator's socket has to open: it is where all else is
    /// shown that did not.
    async fn open(
        &mut self,
        authority: Arc<Authority>,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Admin { state, store, blobs, troubles, .. } = &*self.admin;
        let (database, images) = (store.clone(), blobs.clone());
        let server =
            openstack::server(state, database, images, authority, clock.clone(), stop.clone());
        match server {
            Ok(server) => self.base.essential("OpenStack APIs", server),
            Err(error) => {
                let error = ApiError::new(ErrorKind::Unavailable, format_args!("{error:#}"));
                troubles.note("OpenStack APIs", Err(&error)).await;
            }
        }
        let site = self.admin.site.clone();
        self.base.periodic("opening what is closed", OPEN_EVERY, move || {
            let site = site.clone();
            async move { site.open_what_is_missing().await.map_err(anyhow::Error::new) }
        });
        self.base
            .essential_part("clock", clock_watch::watch(self.admin.store.clone(), stop.clone()));
        let Admin { state, store, blobs, troubles, site, .. } = &*self.admin;
        let kept = Kept {
            state: state.clone(),
            store: store.clone(),
            blobs: blobs.clone(),
            troubles: troubles.clone(),
        };
        retention::begin(&mut self.base, kept, site);
        cloud_watch::begin(&mut self.base, store, &self.admin.clouds, site);
        self.admin.site.attempted(OPEN_MAX).await;
        self.admin.domains.open().await;
        let listener = bind_unix(&utf8(&self.admin.state.socket())?)?;
        let (admin, blobs) = (self.admin.clone(), self.admin.blobs.clone());
        let tasks = undercloud_api::admin::Tasks::new(clock.clone());
        installation::resume(&self.admin.installer, &tasks).await;
        let router = undercloud_api::admin::router(admin, blobs, tasks, stop.clone());
        let listener = Listener::Unix(listener);
        let served = serve::run(listener, router, Limits::default(), clock, stop.clone());
        self.base.essential("administration", served);
        tracing::info!(pid = std::process::id(), "daemon started");
        Ok(())
    }

    /// Ends all of it: first those who ask, then what they ask for.
    async fn close(self) {
        let Self { admin, base } = self;
        base.stop(REQUESTS_END_MAX).await;
        tokio::join!(admin.site.close(), admin.domains.close());
        admin.redfish.close().await;
        admin.store.close().await;
    }
}

fn utf8(path: &std::path::Path) -> Result<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path.to_owned())
        .map_err(|path| anyhow::anyhow!("the path {} is no UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_starts_it_again_and_lets_it_end() {
        let unit = include_str!("../../../../packaging/undercloud.service");
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        assert_eq!(value("Restart="), "on-failure");
        // The lab's machines run on.
        assert_eq!(value("KillMode="), "process");
        let end: u64 = value("TimeoutStopSec=").parse().unwrap();
        assert!(end > (END_MAX + REQUESTS_END_MAX).as_secs(), "{end} s are too short");
        let files: u64 = value("LimitNOFILE=").parse().unwrap();
        assert!(files >= 65_536, "{files} are too few for ten thousand machines");
    }
}
