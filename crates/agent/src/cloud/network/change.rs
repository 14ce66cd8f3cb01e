//! A change of links, with a dead man's switch.
//!
//! ```text
//! is_needed ── make: note what was there ─ write ─ reload ─ wait for the links ─▶ daemon answers ─▶ note gone
//!                                                                         └▶ 60 s of silence ─▶ former files,
//!                                                                                               reload, note gone
//! ```
//!
//! The note outlives the agent: where the machine was reset, or the agent ended, in the middle,
//! [`recover`] does the rest of it at the agent's start, without an order, because one could not come.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use undercloud_model::agent::StepFailure;

use super::{
    DEADLINE,
    links::{self, DIR, Files},
    news::News,
};
use crate::{
    cloud::{
        Call, Task,
        files::{self, Wanted},
        system,
    },
    sys::Host,
};

/// What was there before, as long as nobody knows whether the daemon is reached with what is there
/// now. An empty one says that networkd was not told of a change.
const BEFORE: &str = "var/lib/undercloud/pending/network.links";
/// How long the daemon may be silent after a change.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Whether networkd's files differ, or a change was not finished.
pub(super) fn is_needed(host: &Host, wanted: &Files) -> bool {
    host.has(BEFORE) || !links::are_there(host, wanted)
}

/// Makes the change; `settle` waits until the links are there.
pub(super) fn make(
    task: &Task<'_>,
    wanted: &Files,
    settle: impl FnOnce() -> Result<(), StepFailure>,
) -> Result<(), StepFailure> {
    let (host, news) = (task.host(), listen()?);
    // What was there before an unfinished change counts: that one was never seen to work.
    let before = noted(host).unwrap_or_else(|| present(host));
    note(host, &before)?;
    replace(task, &present(host), wanted)?;
    let settled = settle();
    if reaches_daemon(task, &news) {
        files::remove(host, BEFORE)?;
        return settled;
    }
    restore(task, &before)?;
    let why = settled.err().map(|failure| format!(" ({})", failure.message)).unwrap_or_default();
    Err(system(format_args!(
        "with its new links this machine did not reach the daemon at {} for {} s{why}: the former links \
         are back; look at the networks and links of cloud.toml, and at the switch's ports",
        task.cloud.registry(),
        SILENCE_MAX.as_secs()
    )))
}

/// Ends a change in whose middle the agent, or the machine, ended.
pub(in crate::cloud) fn recover(task: &Task<'_>) -> Result<(), StepFailure> {
    let Some(before) = noted(task.host()) else { return Ok(()) };
    let news = listen()?;
    task.must(&Call::new("networkctl", DEADLINE, ["reload"]))?;
    if reaches_daemon(task, &news) {
        return files::remove(task.host(), BEFORE).map(drop);
    }
    task.log.say("the daemon was not reached with the new links: the former ones come back");
    restore(task, &before)
}

fn restore(task: &Task<'_>, before: &Files) -> Result<(), StepFailure> {
    replace(task, &present(task.host()), before)?;
    files::remove(task.host(), BEFORE).map(drop)
}

/// Writes the files and tells networkd. It makes a link once, and never changes what it is: one that
/// is another now is removed first.
fn replace(task: &Task<'_>, present: &Files, wanted: &Files) -> Result<(), StepFailure> {
    links::write(task, wanted)?;
    let made =
        |path: &&String| path.ends_with(".netdev") && present.get(*path) != wanted.get(*path);
    let stale: BTreeSet<&str> = present.keys().filter(made).filter_map(|p| link_of(p)).collect();
    for name in stale.into_iter().filter(|name| super::has_link(task, name)) {
        task.must(&Call::new("networkctl", DEADLINE, ["delete", name]))?;
    }
    task.must(&Call::new("networkctl", DEADLINE, ["reload"])).map(drop)
}

/// `bond0` of `etc/systemd/network/20-undercloud-bond0.netdev`.
fn link_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?.strip_suffix(".netdev")?;
    name.strip_prefix("20-undercloud-")
}

/// This step's files as they are.
fn present(host: &Host) -> Files {
    let paths = files::below(host, DIR).into_iter().filter(|path| links::is_ours(path));
    paths.filter_map(|path| host.text(&path).ok().map(|text| (path, text))).collect()
}

fn note(host: &Host, before: &Files) -> Result<(), StepFailure> {
    let text = serde_json::to_string(before).map_err(|e| system(format_args!("{e}")))?;
    Wanted::public(BEFORE, &text).ensure(host).map(drop)
}

/// Files of another place are nobody's to write: the note is ours, and still only what
/// [`links::is_ours`] says is taken from it.
fn noted(host: &Host) -> Option<Files> {
    let noted: Files = serde_json::from_str(&host.text(BEFORE).ok()?).ok()?;
    let inside = |path: &String| path.starts_with(DIR) && !path.contains("..");
    Some(noted.into_iter().filter(|(path, _)| inside(path) && links::is_ours(path)).collect())
}

/// Whether the daemon takes a connection, now or soon: it is tried again whenever the kernel tells of a
/// change, and every second, because nobody tells of a daemon that starts. Who cannot wait for it has
/// not reached it.
fn reaches_daemon(task: &Task<'_>, news: &News) -> bool {
    let began = Instant::now();
    let longest = SILENCE_MAX.min(task.host().settle() * 12);
    while !task.cloud.programs.reaches(task.cloud.registry()) {
        if began.elapsed() > longest || news.wait(TRY_EVERY.min(longest)).is_err() {
            return false;
        }
    }
    true
}

/// Opened before anything is changed: without it, nothing is.
fn listen() -> Result<News, StepFailure> {
    News::listen()
        .map_err(|e| system(format_args!("cannot listen to what the kernel tells of links: {e}")))
}
