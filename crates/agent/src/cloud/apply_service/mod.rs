//! `ApplyService`: a service's modules, directories, files and unit; running, and restarted when
//! something of it changed.
//!
//! ```text
//! others' changes of the unit ─► gone, and a change of ours
//! compare ─ same ─► runs? ─ yes ─► nothing to do
//!    │ differs        └ no ─► start
//!    └► mark as pending ─► write ─► daemon-reload ─► restart ─► look ─► unmark
//! ```
//! The mark outlives a crash: what was written and not yet restarted is restarted the next time.
//! Whether the service is healthy is another step's question.

pub(super) mod places;
mod quote;
mod unit;

use std::{collections::BTreeSet, fs, time::Duration};

use undercloud_model::agent::{
    StepFailure,
    cloud::{Seed, ServiceSetup, Volume},
};

use super::{Call, Done, OURS, Task, check, files, files::Wanted, refused, system, systemd};
use crate::container::is_container;

/// How long modprobe, or Quadlet's look at a unit, may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Makes units of `.container` files.
const QUADLET: &str = "/usr/libexec/podman/quadlet";

/// Makes the service as described.
pub(super) fn apply(task: &Task<'_>, setup: &ServiceSetup) -> Result<Done, StepFailure> {
    let text = unit::render(setup, &setup.image.id.hex())?;
    let mut mended = ensure_modules(task, setup)?;
    mended |= ensure_volumes(task, setup)?;
    mended |= ensure_seeds(task, setup)?;
    let mut pending = Pending::find(task, setup);
    // What was changed before the agent ended may have been the unit, and systemd may have missed it.
    let is_resumed = pending.is_pending();
    ensure_files(task, setup, &mut pending)?;
    let unit_path = places::unit(&setup.name);
    let unit = Wanted::public(&unit_path, &text);
    let has_overrides = remove_overrides(task, setup, &mut pending)?;
    let has_changed = !unit.is_there(task.host());
    if has_changed {
        pending.because(task, "unit")?;
        unit.write(task.host())?;
    }
    if has_changed || has_overrides || is_resumed {
        task.cloud.reloads.reload(task)?;
    }
    let name = &setup.name;
    if !pending.is_pending() {
        let state = systemd::show(task, name)?;
        if state.is_loaded() && !state.stale {
            return settle(task, setup, &state, mended);
        }
        // The agent ended between the unit's file and the reload.
        pending.because(task, "unit")?;
        task.cloud.reloads.reload(task)?;
    }
    systemd::restart(task, name)?;
    let state = systemd::show(task, name)?;
    if !state.is_loaded() {
        return Err(not_loaded(task, setup, &state.load));
    }
    let why = pending.done(task)?;
    Ok(Done::changed(format!("{name}: restarted for {why}")))
}

/// Nothing of the service changed: it only has to run.
fn settle(
    task: &Task<'_>,
    setup: &ServiceSetup,
    state: &systemd::UnitState,
    mended: bool,
) -> Result<Done, StepFailure> {
    let name = &setup.name;
    if matches!(state.active.as_str(), "inactive" | "failed") {
        systemd::start(task, name)?;
        return Ok(Done::changed(format!("{name}: started")));
    }
    if mended {
        return Ok(Done::changed(format!("{name}: directories or modules mended")));
    }
    Ok(Done::unchanged(format!("{name} is as it should be")))
}

/// What Quadlet says about a unit that systemd does not have.
fn not_loaded(task: &Task<'_>, setup: &ServiceSetup, load: &str) -> StepFailure {
    if let Ok(ended) = task.run(&Call::new(QUADLET, DEADLINE, ["--dryrun"])) {
        let file = format!("{}.container", setup.name);
        for line in ended.stderr.lines().filter(|l| l.contains(&file)) {
            task.log.say(format_args!("quadlet: {line}"));
        }
    }
    system(format_args!(
        "systemd does not take the unit of {} ({load}): is its image of this podman's kind? Quadlet's \
         words are in the log",
        setup.name
    ))
}

/// Why the service must be restarted, kept in a file until it was.
struct Pending {
    path: String,
    because: Vec<&'static str>,
}

impl Pending {
    fn find(task: &Task<'_>, setup: &ServiceSetup) -> Self {
        let path = places::pending(&setup.name);
        let because = if task.host().has(&path) { vec!["an earlier change"] } else { Vec::new() };
        Self { path, because }
    }

    fn is_pending(&self) -> bool {
        !self.because.is_empty()
    }

    /// To be called before the change is made.
    fn because(&mut self, task: &Task<'_>, reason: &'static str) -> Result<(), StepFailure> {
        if !self.is_pending() {
            Wanted::public(&self.path, "").write(task.host())?;
        }
        if !self.because.contains(&reason) {
            self.because.push(reason);
        }
        Ok(())
    }

    fn done(self, task: &Task<'_>) -> Result<String, StepFailure> {
        files::remove(task.host(), &self.path)?;
        Ok(self.because.join(", "))
    }
}

fn ensure_modules(task: &Task<'_>, setup: &ServiceSetup) -> Result<bool, StepFailure> {
    let host = task.host();
    for module in &setup.modules {
        check::name("module", module, "_-")?;
    }
    let path = places::modules(&setup.name);
    if setup.modules.is_empty() {
        return files::remove(host, &path);
    }
    let lines: String = setup.modules.iter().map(|m| format!("{m}\n")).collect();
    let mut changed = Wanted::public(&path, &format!("{OURS}\n{lines}")).ensure(host)?;
    let loaded = |m: &&String| !host.has(format!("sys/module/{}", m.replace('-', "_")));
    let missing: Vec<&String> = setup.modules.iter().filter(loaded).collect();
    if !missing.is_empty() && is_container(host) {
        // Built into the host's kernel, perhaps; what is really missing fails where it is used.
        task.cloud.said_modules.call_once(|| {
            task.log.say(format_args!(
                "a container on its host's kernel: {} and other modules are the host's to load",
                missing[0]
            ));
        });
    } else if !missing.is_empty() {
        let arguments = ["--all", "--"].map(str::to_owned);
        let arguments = arguments.into_iter().chain(missing.into_iter().cloned());
        task.must(&Call::new("modprobe", DEADLINE, arguments))?;
        changed = true;
    }
    Ok(changed)
}

/// Directories of the machine, and for those below `/run` the line that makes them at each boot.
fn ensure_volumes(task: &Task<'_>, setup: &ServiceSetup) -> Result<bool, StepFailure> {
    let host = task.host();
    let (mut changed, mut lines) = (false, String::new());
    for Volume { host: at, mode, uid, existing, .. } in &setup.volumes {
        let path = check::path(at)?;
        if *existing {
            if !host.has(path) {
                let name = &setup.name;
                return Err(system(format_args!("{name} needs {at}, and the machine has none")));
            }
            continue;
        }
        if mode & !0o7777 != 0 {
            return Err(refused(format_args!("{mode:o} is no mode for {at}")));
        }
        changed |= files::ensure_dir(host, path, *mode, *uid)?;
        if path.starts_with("run/") {
            lines.push_str(&format!("d {at} {mode:04o} {uid} 0 -\n"));
        }
    }
    let path = places::tmpfiles(&setup.name);
    changed |= if lines.is_empty() {
        files::remove(host, &path)?
    } else {
        Wanted::public(&path, &format!("{OURS}\n{lines}")).ensure(host)?
    };
    Ok(changed)
}

/// Files that the service finds at its first start. What is there is the service's, unless it is
/// empty: then the power went before its content was on the disk.
fn ensure_seeds(task: &Task<'_>, setup: &ServiceSetup) -> Result<bool, StepFailure> {
    let host = task.host();
    let mut changed = false;
    for Seed { host: at, mode, uid, content } in &setup.seeds {
        let path = check::path(at)?;
        if fs::symlink_metadata(host.path(path)).is_ok_and(|meta| meta.len() > 0) {
            continue;
        }
        let content = content.as_bytes();
        Wanted { path, mode: mode & 0o777, uid: Some(*uid), content }.write(host)?;
        task.log.say(format_args!("{}: wrote {at}", setup.name));
        changed = true;
    }
    Ok(changed)
}

/// Takes away what somebody changed of the unit by hand; says whether there was something.
fn remove_overrides(
    task: &Task<'_>,
    setup: &ServiceSetup,
    pending: &mut Pending,
) -> Result<bool, StepFailure> {
    let host = task.host();
    let mut found = false;
    for place in places::overrides(&setup.name) {
        let is_dir = fs::symlink_metadata(host.path(&place)).is_ok_and(|meta| meta.is_dir());
        let files = if is_dir { files::below(host, &place) } else { vec![place] };
        for path in files {
            if fs::symlink_metadata(host.path(&path)).is_err() {
                continue;
            }
            pending.because(task, "a change by hand")?;
            task.log.say(format_args!("{}: /{path} is not ours: removed", setup.name));
            found |= files::remove(host, &path)?;
        }
    }
    Ok(found)
}

fn ensure_files(
    task: &Task<'_>,
    setup: &ServiceSetup,
    pending: &mut Pending,
) -> Result<(), StepFailure> {
    let host = task.host();
    let dir = places::files(&setup.name);
    let mut wanted = BTreeSet::new();
    for file in &setup.files {
        let path = format!("{dir}/{}", check::path(&file.path)?);
        let content = file.content.expose().as_bytes();
        let file = Wanted { path: &path, mode: file.mode & 0o7777, uid: Some(setup.uid), content };
        if !file.is_there(host) {
            pending.because(task, "files")?;
            file.write(host)?;
        }
        wanted.insert(path);
    }
    for path in files::below(host, &dir) {
        if !wanted.contains(&path) {
            pending.because(task, "files")?;
            files::remove(host, &path)?;
        }
    }
    Ok(())
}
