//! `undercloud serve`: the daemon, in the foreground or on its own.

use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt as _, net::UnixStream, process::CommandExt as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use undercloud_model::ErrorKind;

use super::Context;
use crate::{
    cli::ServeArgs,
    daemon::{self, lock, provisioning::Interface},
    failure::Failure,
};

/// A daemon answers in well under a second; a busy host may need longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the socket is tried while the daemon starts.
const ANSWER_POLL: Duration = Duration::from_millis(50);

pub(super) fn run(context: &Context, args: ServeArgs) -> Result<()> {
    let ServeArgs { detach, provisioning_interface, provisioning_range: range } = args;
    let metal = provisioning_interface.map(|name| Interface { name, range });
    if let Some(interface) = &metal {
        interface.check()?;
    }
    if detach {
        if let (Some(pid), Some(interface)) = (lock::holder(&context.state), &metal) {
            let message = format!(
                "a daemon runs already, as process {pid}; {} is named when it starts",
                interface.name
            );
            let hint = format!("kill {pid}; machines and containers run on without it");
            return Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into());
        }
        let pid = start(context, metal.as_ref())?;
        let clouds = crate::access::grant(&context.state)?;
        let stackrc = context.state.root().join("stackrc");
        context.out.line(format_args!("the daemon runs as process {pid}"))?;
        return context.out.line(format_args!(
            "its images: openstack --os-cloud undercloud image list ({clouds}), or . {}",
            stackrc.display()
        ));
    }
    daemon::run(context.state.clone(), metal)
}

/// Starts a daemon that survives us, unless one runs. Returns its process id once it answers.
///
/// # Errors
/// When it ends before it answers, with what it said; when it does not answer in time.
pub(crate) fn ensure(context: &Context) -> Result<u32> {
    start(context, None)
}

fn start(context: &Context, metal: Option<&Interface>) -> Result<u32> {
    let state = &context.state;
    if let Some(pid) = lock::holder(state)
        && UnixStream::connect(state.socket()).is_ok()
    {
        return Ok(pid);
    }
    state.create()?;
    let log = state.logs().join("undercloud.log");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .arg("--state")
        .arg(state.root())
        .arg("--cache")
        .arg(&context.common.cache)
        .arg("serve")
        .args(metal.iter().flat_map(|m| ["--provisioning-interface", &m.name]))
        .args(metal.and_then(|m| m.range).map(|range| format!("--provisioning-range={range}")))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()
        .context("cannot start the daemon")?;
    wait_until_it_answers(context, &mut child)?;
    Ok(child.id())
}

fn wait_until_it_answers(context: &Context, child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let log =
        || format!("see: undercloud --state {} logs undercloud", context.state.root().display());
    while UnixStream::connect(context.state.socket()).is_err() {
        if let Some(status) = child.try_wait().context("cannot watch the daemon")? {
            let message = format!("the daemon ended before it answered: {status}");
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(log()).into());
        }
        if Instant::now() > deadline {
            let message =
                format!("the daemon did not answer within {} s", ANSWER_TIMEOUT.as_secs());
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(log()).into());
        }
        std::thread::sleep(ANSWER_POLL);
    }
    Ok(())
}
