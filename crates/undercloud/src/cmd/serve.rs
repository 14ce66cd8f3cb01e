//! `undercloud serve`: the daemon, in the foreground or on its own.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::{fs::OpenOptionsExt as _, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_model::ErrorKind;

use super::Context;
use crate::{
    cli::ServeArgs,
    daemon::{self, lock, provisioning::Interface, site_definitions::SiteDefinitions},
    daemon_client::Daemon,
    failure::Failure,
    out,
};

/// A daemon answers in well under a second; a busy host may need longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the socket is tried while the daemon starts.
const ANSWER_POLL: Duration = Duration::from_millis(50);

/// The most of the daemon's log that is searched for the reason of its end.
const LAST_WORDS_BYTES_MAX: u64 = 64 << 10;

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
        let value = json!({ "pid": pid, "clouds": clouds, "stackrc": stackrc.to_string_lossy() });
        let images = "openstack --os-cloud undercloud image list";
        let text = format!(
            "the daemon runs as process {pid}\nits images: {images} ({clouds}), or . {}",
            out::shell_word(&stackrc)
        );
        return context.out.result(&value, text);
    }
    let definitions = std::path::absolute(&context.common.definitions)?;
    let definitions = SiteDefinitions::at(definitions);
    daemon::run(context.state.clone(), metal, definitions)
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
    let before = file.metadata().map_or(0, |log| log.len());
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .arg("--state")
        .arg(state.root())
        .arg("--cache")
        .arg(&context.common.cache)
        .arg("--definitions")
        .arg(std::path::absolute(&context.common.definitions)?)
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
    wait_until_it_answers(context, &mut child, before)?;
    // Who was started at the same time and came first is the one that answers.
    Ok(lock::holder(state).unwrap_or_else(|| child.id()))
}

/// The daemon reads the definitions that were named when it was started: another directory is another
/// site.
///
/// # Errors
/// When a directory is named now that is not the daemon's.
pub(super) fn same_definitions(context: &Context, daemon: &Daemon) -> Result<()> {
    let ours = &context.common.definitions;
    if ours == Path::new(crate::definitions::DEFAULT) {
        return Ok(());
    }
    let (ours, status) = (std::path::absolute(ours)?, daemon.status()?);
    if Path::new(&status.definitions) == ours {
        return Ok(());
    }
    let message = format!(
        "the daemon reads its definitions from {}, not from {}",
        status.definitions,
        ours.display()
    );
    let hint = format!("kill {}; the next command starts one that reads those", status.pid);
    Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into())
}

/// `before` is the length of the daemon's log when it was started.
fn wait_until_it_answers(context: &Context, child: &mut Child, before: u64) -> Result<()> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let log = || {
        format!("see: undercloud --state {} logs undercloud", out::shell_word(context.state.root()))
    };
    while UnixStream::connect(context.state.socket()).is_err() {
        // Another that was started at the same time came first: it is the one that will answer.
        let is_ours_to_wait_for = lock::holder(&context.state).is_none_or(|pid| pid == child.id());
        if let Some(status) = child.try_wait().context("cannot watch the daemon")?
            && is_ours_to_wait_for
        {
            let why = last_words(&context.state.logs().join("undercloud.log"), before);
            let why = why.unwrap_or_else(|| LastWords::from(status.to_string()));
            let message = format!("the daemon ended before it answered: {}", why.error);
            let hint = why.hint.unwrap_or_else(log);
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(hint).into());
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

/// Why a daemon ended, as it said in its log.
#[derive(Debug, PartialEq, Eq)]
struct LastWords {
    error: String,
    hint: Option<String>,
}

impl From<String> for LastWords {
    fn from(error: String) -> Self {
        Self { error, hint: None }
    }
}

/// The error with which a daemon ended, from what it wrote behind the first `before` bytes of `log`.
fn last_words(log: &Path, before: u64) -> Option<LastWords> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LAST_WORDS_BYTES_MAX).max(before);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let after = |mark: &str| text.lines().rev().find_map(|line| line.strip_prefix(mark));
    let error = after("error: ")?.to_owned();
    Some(LastWords { error, hint: after("hint: ").map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn why_a_daemon_ended_is_what_it_said_last_and_nothing_of_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("undercloud.log");
        let earlier = "error: of yesterday\nhint: forget it\n";
        fs::write(&log, earlier).unwrap();
        let before = earlier.len() as u64;
        assert_eq!(last_words(&log, before), None);
        fs::write(&log, format!("{earlier}INFO begun\nerror: udp 67 is taken\n")).unwrap();
        assert_eq!(last_words(&log, before), Some("udp 67 is taken".to_owned().into()));
        fs::write(&log, format!("{earlier}error: no room\nhint: df -h\n")).unwrap();
        let hint = Some("df -h".to_owned());
        assert_eq!(last_words(&log, before), Some(LastWords { error: "no room".into(), hint }));
        assert_eq!(last_words(&dir.path().join("absent"), 0), None);
    }
}
