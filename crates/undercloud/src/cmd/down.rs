//! `undercloud down`: takes away everything of this state.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_model::ErrorKind;

use super::Context;
use crate::{cache_users, daemon::lock, daemon_client::Daemon, failure::Failure, state::StateDir};

/// The daemon ends its connections first.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const END_POLL: Duration = Duration::from_millis(50);

pub(super) fn run(context: &Context, purge: bool, force: bool) -> Result<()> {
    let (state, cache) = (&context.state, &context.common.cache);
    state.check_access()?;
    if purge && !force {
        is_nobody_elses(cache, state)?;
    }
    let existed = state.exists();
    if state.exists() {
        if lock::holder(state).is_some() {
            context.out.step("daemon", || stop_daemon(context))?;
        }
        context.out.step("lab", || {
            crate::lab_host::delete(state)?;
            Ok(((), "machines and networks are gone".to_owned()))
        })?;
        context.out.step("access", || {
            crate::access::revoke(state)?;
            Ok(((), "clouds.yaml is as it was".to_owned()))
        })?;
        context.out.step("files", || {
            state.remove()?;
            Ok(((), format!("{} is gone", state.root().display())))
        })?;
    }
    cache_users::forget(cache, state)?;
    if purge && cache.exists() {
        // What a killed build of an earlier version left mounted cannot be removed.
        undercloud_image::build::unmount(&crate::images::utf8(cache.clone())?)?;
        fs::remove_dir_all(cache).with_context(|| format!("cannot remove {}", cache.display()))?;
    }
    let kept = if purge || !cache.exists() {
        "installed packages".to_owned()
    } else {
        format!("installed packages, and the cache in {} (--purge drops it)", cache.display())
    };
    let value = json!({ "state": state.root().to_string_lossy(), "outcome": "gone", "kept": kept });
    if !existed {
        let root = state.root().display();
        context
            .out
            .line(format_args!("there is no state {root}: nothing was taken away from it"))?;
    }
    context.out.result(&value, format_args!("what stays: {kept}"))
}

/// Whether no other state of this host builds from the cache.
///
/// # Errors
/// Some do.
fn is_nobody_elses(cache: &Path, state: &StateDir) -> Result<()> {
    let others = cache_users::others(cache, state)?;
    if others.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = others.iter().map(|root| root.display().to_string()).collect();
    let message = format!("{} is the cache of {}, too", cache.display(), names.join(", "));
    Err(Failure::new(ErrorKind::Conflict, message)
        .hint("undercloud down, which leaves the cache; --purge --force drops it all the same")
        .into())
}

/// Ends the daemon and waits until it has let go of the state.
///
/// # Errors
/// When it does not end.
pub(super) fn stop_daemon(context: &Context) -> Result<((), String)> {
    let pid = lock::holder(&context.state).unwrap_or_default();
    match Daemon::connect(&context.state) {
        Ok(daemon) => daemon.ask(async |c| c.shutdown().await)?,
        // It holds the lock and does not answer: it is ended by its process id.
        Err(_) => terminate(pid)?,
    }
    let deadline = std::time::Instant::now() + END_TIMEOUT;
    while lock::holder(&context.state).is_some() {
        if std::time::Instant::now() > deadline {
            let message = format!("the daemon, process {pid}, does not end");
            let hint = format!("kill -9 {pid}, then undercloud down again");
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(hint).into());
        }
        std::thread::sleep(END_POLL);
    }
    Ok(((), format!("process {pid} ended")))
}

fn terminate(pid: u32) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = raw.context("the daemon's lock holds no process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot end it")
}
