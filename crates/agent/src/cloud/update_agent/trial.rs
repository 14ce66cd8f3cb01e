//! The trial of a new agent, which ends with the daemon's first answer to it. Until then systemd starts
//! the kept agent before it, as a guard that counts: one that was started [`STARTS_MAX`] times and
//! heard nothing gives its place back.
//!
//! Nothing here needs the new program, the network or the clock, and every file is there whole or not
//! at all: a machine that loses its power on any line starts one of both agents, and goes on counting.
//! What the guard cannot do is no reason not to start the agent.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};
use undercloud_image::HashingReader;
use undercloud_model::{Digest, agent::StepFailure};

use super::super::{Task, files, files::Wanted, system};
use crate::{VERSION, log::Log, sys::Host};

/// What systemd starts.
pub(super) const PROGRAM: &str = "usr/sbin/undercloud-agent";
/// What is to take its place.
pub(super) const NEW: &str = "usr/sbin/.undercloud-agent.new";
/// The one that was in its place before.
const KEPT: &str = "usr/sbin/undercloud-agent.kept";
const KEEPING: &str = "usr/sbin/.undercloud-agent.keeping";
/// What this process was started from, also when its name is another file's by now (proc(5)).
const RUNNING: &str = "proc/self/exe";
/// How the trial stands.
const TRIAL: &str = "var/lib/undercloud/agent-trial.json";
/// The guard. A minute is enough to connect, on an emulated machine too.
const GUARD: &str = "etc/systemd/system/undercloud-agent.service.d/trial.conf";
const GUARD_TEXT: &str = "\
# Written by undercloud-agent: a new agent is on trial until the daemon answers it.
[Service]
ExecStartPre=-/usr/sbin/undercloud-agent.kept guard
RuntimeMaxSec=60
TimeoutStopSec=5
";
/// So often the new agent is started before the kept one takes its place back.
const STARTS_MAX: u32 = 2;

/// A trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// Which program is on trial.
    pub(super) to: Digest,
    /// The version of the one that it replaced.
    pub(super) from: String,
    /// How often it was started.
    starts: u32,
    /// How it stands.
    pub(super) stand: Stand,
}

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stand {
    /// The daemon has not answered yet.
    OnTrial,
    /// It has.
    Passed,
    /// The kept agent is in its place again.
    RolledBack,
}

impl Trial {
    /// One that begins, of the program `to` after this one.
    pub(super) fn of(to: Digest) -> Self {
        Self { to, from: VERSION.to_owned(), starts: 0, stand: Stand::OnTrial }
    }
}

/// The digest of the program that this process runs.
pub(super) fn running(host: &Host) -> Result<Digest, StepFailure> {
    digest_of(&host.path(RUNNING))
        .map_err(|e| system(format_args!("cannot read the running agent, /{RUNNING}: {e}")))
}

pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    Ok(HashingReader::new(File::open(path)?).drain()?.0)
}

/// The trial that was begun, if one was and can be read.
pub(super) fn read(host: &Host) -> Option<Trial> {
    serde_json::from_slice(&host.bytes(TRIAL).ok()?).ok()
}

fn write(host: &Host, trial: &Trial) -> Result<(), StepFailure> {
    let content = serde_json::to_vec(trial).map_err(system)?;
    Wanted { path: TRIAL, mode: 0o600, uid: None, content: &content }.write(host)
}

/// There was no trial.
pub(super) fn forget(host: &Host) -> Result<(), StepFailure> {
    files::remove(host, TRIAL).map(drop)
}

/// Keeps the program that this process runs.
pub(super) fn keep(host: &Host) -> Result<(), StepFailure> {
    let keeping = host.path(KEEPING);
    let copy = || -> io::Result<()> {
        let mut file = File::create(&keeping)?;
        io::copy(&mut File::open(host.path(RUNNING))?, &mut file)?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        file.sync_all()
    };
    copy().map_err(|e| system(format_args!("cannot keep the agent as /{KEPT}: {e}")))?;
    rename(host, KEEPING, KEPT)
}

/// From now on whatever starts is on trial.
pub(super) fn begin(task: &Task<'_>, trial: &Trial) -> Result<(), StepFailure> {
    write(task.host(), trial)?;
    Wanted::public(GUARD, GUARD_TEXT).ensure(task.host())?;
    // Also if it was there: a process that ended here had not told systemd.
    task.cloud.reloads.reload(task)
}

/// Nothing is on trial: what could not be guarded is not begun.
pub(super) fn abandon(host: &Host) -> Result<(), StepFailure> {
    forget(host)?;
    files::remove(host, GUARD).map(drop)
}

/// Gives a file another's name, durably.
pub(super) fn rename(host: &Host, from: &str, to: &str) -> Result<(), StepFailure> {
    undercloud_durable::rename(&host.path(from), &host.path(to))
        .map_err(|e| system(format_args!("cannot rename /{from} to /{to}: {e}")))
}

/// The daemon answered this process: what was on trial has passed, if that is what runs.
pub(in super::super) fn answered(task: &Task<'_>) -> Result<(), StepFailure> {
    let host = task.host();
    if task.cloud.is_ending() {
        return Ok(());
    }
    if let Some(trial) = read(host).filter(|trial| trial.stand == Stand::OnTrial) {
        let passed = running(host)? == trial.to;
        let stand = if passed { Stand::Passed } else { Stand::RolledBack };
        write(host, &Trial { stand, ..trial })?;
    }
    if files::remove(host, GUARD)? {
        task.cloud.reloads.reload(task)?;
    }
    Ok(())
}

/// Before systemd starts the agent: counts the starts of one that is on trial, and takes its place
/// back after the last.
///
/// # Errors
/// What could not be done. systemd starts the agent all the same.
pub fn guard(host: &Host, log: &Log) -> Result<(), StepFailure> {
    let Some(trial) = read(host).filter(|trial| trial.stand == Stand::OnTrial) else {
        return Ok(());
    };
    let starts = trial.starts.saturating_add(1);
    // Where starts cannot be counted there is no second one.
    if starts <= STARTS_MAX && write(host, &Trial { starts, ..trial.clone() }).is_ok() {
        return Ok(());
    }
    log.say(format_args!(
        "the new agent was started {} times and the daemon did not answer it: agent {VERSION} \
         takes its place back",
        trial.starts
    ));
    // A second name for the same file: that needs no room on the disk.
    files::remove(host, NEW)?;
    fs::hard_link(host.path(KEPT), host.path(NEW))
        .map_err(|e| system(format_args!("cannot link /{KEPT} to /{NEW}: {e}")))?;
    rename(host, NEW, PROGRAM)?;
    write(host, &Trial { stand: Stand::RolledBack, ..trial })
}
