//! The daemon: wires store, engine, lab, BMCs, network boot and APIs together.
//!
//! It lives in the host's network namespace. What listens inside the lab's ([`site`]) is opened
//! there and handed over. It may be killed at any time: everything that matters is in the store,
//! and the lab's machines are processes of their own that it finds again.

mod admin;
mod agents;
mod bmc_access;
mod boots;
mod clock_watch;
mod cloud;
mod consent;
mod domains;
mod install_log;
mod journal;
pub(crate) mod lock;
mod media_drive;
pub(crate) mod openstack;
mod orphans;
pub(crate) mod provisioning;
mod redfish;
mod registry;
mod site;
mod virtual_bmc;

use std::{io, sync::Arc};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use undercloud_api::{
    Clock,
    admin::Endpoint,
    serve::{self, Limits, Listener, bind_unix},
    tls::Authority,
};
use undercloud_bmc::redfish::link::Trust;
use undercloud_image::blob::Blobs;
use undercloud_store::{Open, Store};

use self::{
    admin::Admin, cloud::Clouds, domains::Domains, lock::Lock, provisioning::Interface,
    redfish::Redfish, site::Site,
};
use crate::{clock, state::StateDir};

/// Runs the daemon until it is asked to end. Machines of metal boot from `metal`, if there is one.
///
/// # Errors
/// When it cannot start, or a part of it ended by itself.
pub(crate) fn run(state: StateDir, metal: Option<Interface>) -> Result<()> {
    state.create()?;
    let _lock = Lock::take(&state)?;
    // The log of a service has no colours, whatever the terminal; levels by RUST_LOG.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(io::stderr)
        .try_init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve_until_stopped(state, metal))
}

async fn serve_until_stopped(state: StateDir, metal: Option<Interface>) -> Result<()> {
    let clock = Clock::new(clock::now_ms);
    let started_at = clock::now_ms();
    let stop = CancellationToken::new();
    let store = Store::open(utf8(&state.database())?, Open::at(started_at)).await?;
    let blobs = Blobs::open(utf8(&state.blobs())?)?;
    orphans::collect(&store, &blobs, orphans::GRACE).await?;
    let watched = tokio::spawn(clock_watch::watch(store.clone(), stop.clone()));
    let authority = Arc::new(Authority::open(&utf8(&state.pki())?, started_at)?);

    let openstack = openstack::start(
        &state,
        store.clone(),
        blobs.clone(),
        authority.clone(),
        clock.clone(),
        stop.clone(),
    )?;
    let clouds = Clouds::new(&state, store.clone(), authority.clone());
    let redfish = Arc::new(Redfish::new(&state, store.clone(), authority.clone()));
    let trust = Trust::authorities([authority.pem().as_bytes()]);
    let trust = trust.context("our CA is no certificate")?;
    let domains = Domains::new(&state, redfish.clone(), trust)?;
    let (database, images) = (store.clone(), blobs.clone());
    let site =
        Site::new(&state, database, images, authority, redfish.clone(), clock.clone(), metal);
    site.open().await?;
    domains.open().await;
    let socket = utf8(&state.socket())?;
    let listener = bind_unix(&socket)?;
    let identity = format!("https://127.0.0.1:{}/identity/v3", state.api_port());
    let endpoints = vec![
        Endpoint { name: "administration".into(), address: socket.to_string() },
        Endpoint { name: "identity, image".into(), address: identity },
    ];
    let admin = Arc::new(Admin {
        state,
        store: store.clone(),
        blobs: blobs.clone(),
        site,
        domains,
        redfish: redfish.clone(),
        clouds,
        started_at,
        endpoints,
    });
    let router = undercloud_api::admin::router(admin.clone(), blobs, clock.clone(), stop.clone());
    tracing::info!(pid = std::process::id(), "daemon started");
    let served =
        serve::run(Listener::Unix(listener), router, Limits::default(), clock, stop.clone());
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    tokio::select! {
        biased;
        served = served => served.context("the administration socket failed")?,
        _ = terminate.recv() => stop.cancel(),
        _ = interrupt.recv() => stop.cancel(),
    }
    stop.cancel();
    let _ended = openstack.await;
    let _ended = watched.await;
    admin.site.close().await;
    admin.domains.close().await;
    redfish.close().await;
    store.close().await;
    tracing::info!("daemon stopped");
    Ok(())
}

fn utf8(path: &std::path::Path) -> Result<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path.to_owned())
        .map_err(|path| anyhow::anyhow!("the path {} is no UTF-8", path.display()))
}
