//! What the installed system does for the cloud, a file for each step: network, images, services.
//!
//! Every step is *check → apply → verify*. It may be done again at any time, on a machine that was
//! left half-way or that somebody changed, and where everything is as it should be it starts as few
//! processes as it can: on an emulated machine each costs up to a second.
//!
//! Texts of an order become paths, units and rules only through [`check`]. Programs are started
//! through [`Programs`], never through a shell, and no secret is on a command line.

mod apply_service;
mod await_health;
mod boot_order;
mod check;
mod clock;
mod ensure_identity;
mod fetch;
mod files;
mod health;
mod keystone;
mod mask;
mod mount_images;
mod network;
mod podman;
mod programs;
mod pull_image;
mod retire_services;
mod run_once;
mod systemd;
mod update_agent;

use std::{
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use undercloud_model::agent::{
    InstalledIdentity, StepFailure, StepFailureKind,
    cloud::{CloudStep, Converged},
};

use crate::{device::failure, log::Log, sys::Host};

pub use boot_order::yield_to;
pub use health::Latest;
pub(crate) use health::watch;
pub use programs::{Call, Ended, Programs, ThisMachine};
pub use update_agent::guard;

/// Says whose a file is, in its first line.
const OURS: &str = "# Written by undercloud-agent: changes here are lost.";

/// Does the cloud's steps on this machine.
#[derive(Debug)]
pub struct Cloud {
    host: Host,
    identity: InstalledIdentity,
    programs: Arc<dyn Programs>,
    reloads: systemd::Reloads,
    tokens: keystone::Tokens,
    /// One download at a time: images share layers, and podman fetches those of two at once twice.
    download: Mutex<()>,
    /// That modules are the host's is said once.
    said_modules: Once,
    /// Another build of this program is about to take its place: systemd ends this one.
    is_ending: AtomicBool,
}

/// A step that is done.
#[derive(Debug)]
struct Done {
    changed: bool,
    note: String,
}

impl Done {
    fn unchanged(note: impl Into<String>) -> Self {
        Self { changed: false, note: note.into() }
    }

    fn changed(note: impl Into<String>) -> Self {
        Self { changed: true, note: note.into() }
    }
}

/// What a step works with.
#[derive(Debug, Clone, Copy)]
struct Task<'a> {
    cloud: &'a Cloud,
    log: &'a Log,
}

impl Task<'_> {
    fn host(&self) -> &Host {
        &self.cloud.host
    }

    /// Runs a program that must succeed; what it said goes to the log.
    fn must(&self, call: &Call) -> Result<Ended, StepFailure> {
        let ended = self.run(call)?;
        if ended.success {
            return Ok(ended);
        }
        for line in ended.last_lines(20) {
            self.log.say(format_args!("{}: {line}", call.program));
        }
        let last = ended.last_lines(1).pop().unwrap_or_default();
        Err(system(format_args!("`{}` failed: {last}", call.shown())))
    }

    /// Runs a program to its end, whatever that is.
    fn run(&self, call: &Call) -> Result<Ended, StepFailure> {
        let ended = self.cloud.programs.run(call);
        ended.map_err(|e| system(format_args!("cannot run `{}`: {e}", call.shown())))
    }
}

/// The machine refused.
fn system(message: impl std::fmt::Display) -> StepFailure {
    failure(StepFailureKind::System, message)
}

/// The order makes no sense.
fn refused(message: impl std::fmt::Display) -> StepFailure {
    failure(StepFailureKind::Unsupported, message)
}

impl Cloud {
    /// The cloud's part of the machine `host`, which is known to the daemon by `identity`.
    pub fn new(host: Host, identity: InstalledIdentity, programs: Arc<dyn Programs>) -> Self {
        Self {
            host,
            identity,
            programs,
            reloads: systemd::Reloads::default(),
            tokens: keystone::Tokens::default(),
            download: Mutex::default(),
            said_modules: Once::new(),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Has what every step takes for granted, whatever is ordered first.
    ///
    /// # Errors
    /// What could not be made.
    pub fn prepare(&self, log: &Log) -> Result<(), StepFailure> {
        let task = Task { cloud: self, log };
        // All, whatever becomes of the others.
        let links = network::recover(&task);
        let (time, podman) = (clock::configure(&task), podman::configure(&task));
        links.and(time).and(podman)
    }

    /// Does a step.
    ///
    /// # Errors
    /// What failed, on what, and the likely cause.
    pub fn execute(&self, step: &CloudStep, log: &Log) -> Result<Converged, StepFailure> {
        let began = Instant::now();
        let task = Task { cloud: self, log };
        let done = match step {
            CloudStep::UpdateAgent { program } => update_agent::update(&task, program.as_ref()),
            CloudStep::Network(setup) => network::apply(&task, setup),
            CloudStep::MountImages(store) => mount_images::mount(&task, store),
            CloudStep::PullImage(image) => pull_image::pull(&task, image),
            CloudStep::ApplyService(setup) => apply_service::apply(&task, setup),
            CloudStep::AwaitHealth(check) => await_health::wait(&task, check),
            CloudStep::RunOnce(command) => run_once::run(&task, command),
            CloudStep::EnsureIdentity(setup) => ensure_identity::ensure(&task, setup),
            CloudStep::RetireServices { keep } => retire_services::retire(&task, keep),
        }?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        log.say(format_args!("{} ({took_ms} ms)", done.note));
        Ok(Converged { changed: done.changed, note: done.note, took_ms })
    }

    /// The daemon answered: an agent that was on trial has passed it.
    ///
    /// # Errors
    /// What could not be written down.
    pub fn answered(&self, log: &Log) -> Result<(), StepFailure> {
        update_agent::answered(&Task { cloud: self, log })
    }

    /// Whether systemd ends this program, in favour of another build. What ends from now on is not
    /// reported by it: the next one is given the same orders, and finds them done.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// `HOST:PORT` of the daemon, where its registry is.
    fn registry(&self) -> &str {
        self.identity.api.trim_start_matches("https://").trim_end_matches('/')
    }
}
