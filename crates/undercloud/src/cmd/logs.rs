//! `undercloud logs`: which logs there are, and what is in each.

mod follow;

use std::{
    fs,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;
use undercloud_model::ErrorKind;

use super::Context;
use crate::{
    cli::LogsArgs,
    clock,
    daemon_client::Daemon,
    failure::Failure,
    out::{self, Format},
    waiting,
};

/// Which logs an entry stands for.
#[derive(Debug, Clone, Copy)]
enum Name {
    /// The one of this name.
    Only(&'static str),
    /// One for each machine or deployment: `overcloud-full-NAME.log`.
    Each(&'static str),
}

use Name::{Each, Only};

/// Every log by its name, and what is in it.
const LOGS: &[(Name, &str)] = &[
    (Only("undercloud"), "the daemon: every transition of every machine, and its own faults"),
    (Only("openstack-build-images"), "every program that built the images, and what it printed"),
    (
        Only("openstack-build-containers"),
        "every program that built the container images, and what it printed",
    ),
    (Only("ironic-python-agent"), "what the ramdisks' agents did: inventory, wipe, write"),
    (Each("ironic-python-agent-"), "the same, of one machine"),
    (Only("overcloud_install"), "every step of every installation of the cloud, as it happened"),
    (
        Each("overcloud_deployment_"),
        "one deployment of the cloud: its steps and how long each took",
    ),
    (Only("overcloud-full"), "what the installed machines' agents did, and what services said"),
    (Each("overcloud-full-"), "the same, of one machine"),
    (Only("openstack_failures_long"), "every failure of an installation or a verification"),
    (Each("console-"), "what a machine of the lab printed on its serial console"),
];

/// What a log is called when a newer one took its place.
const OLDER: &str = ".1";

#[derive(Debug, Serialize)]
struct Log {
    name: String,
    bytes: u64,
    changed_at_ms: i64,
    about: String,
    #[serde(skip)]
    path: PathBuf,
}

pub(super) fn run(context: &Context, args: &LogsArgs) -> Result<()> {
    context.state.check_access()?;
    let mut logs = list(&context.state.logs())?;
    logs.extend(consoles(context));
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(name) = args.name.as_deref() else {
        let header = ["log", "size", "changed", "what is in it"];
        return context.out.rows(&header, &logs, |log| {
            let changed = clock::rfc3339(log.changed_at_ms);
            vec![log.name.clone(), out::bytes(log.bytes), changed, log.about.clone()]
        });
    };
    let known = |log: &&Log| log.name == name || log.name == format!("{name}.log");
    let Some(log) = logs.iter().find(known) else {
        return Err(Failure::new(ErrorKind::NotFound, format!("there is no log `{name}`"))
            .hint("undercloud logs")
            .into());
    };
    let path = log.path.display();
    if args.follow {
        return follow(context, log, args.lines).with_context(|| path.to_string());
    }
    let mut file = fs::File::open(&log.path).with_context(|| path.to_string())?;
    file.seek(SeekFrom::Start(follow::last_lines(&file, args.lines)?))
        .with_context(|| path.to_string())?;
    if context.out.format() == Format::Json {
        let mut text = Vec::new();
        io::copy(&mut file, &mut text).with_context(|| path.to_string())?;
        let text = String::from_utf8_lossy(&text);
        return context.out.json(&json!({ "name": log.name, "text": text }));
    }
    io::copy(&mut file, &mut io::stdout().lock())?;
    Ok(())
}

/// Shows a log and what is added to it, until Ctrl-C or its folder is gone.
fn follow(context: &Context, log: &Log, lines: Option<u64>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupts = waiting::interrupts()?;
        // The watch first: what is written after the look ends the wait at once.
        let mut news = follow::News::beside(&log.path)?;
        let from = follow::last_lines(&fs::File::open(&log.path)?, lines)?;
        let mut growing = follow::Growing::open(&log.path, from)?;
        let mut shown = Shown { context, name: &log.name, line: Vec::new() };
        loop {
            growing.look(&mut |bytes: &[u8]| shown.bytes(bytes))?;
            let is_there = tokio::select! {
                biased;
                _ = interrupts.recv() => return Ok(()),
                is_there = news.come() => is_there?,
            };
            if !is_there {
                let message = format!("{} is gone, with the folder that it was in", log.name);
                return Err(Failure::new(ErrorKind::NotFound, message)
                    .hint("undercloud logs")
                    .into());
            }
        }
    })
}

/// A log that is followed, as people or programs read it.
struct Shown<'a> {
    context: &'a Context,
    name: &'a str,
    /// What came of a line that is not whole, for programs.
    line: Vec<u8>,
}

impl Shown<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.context.out.format() {
            Format::Table => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()?;
            }
            Format::Json => {
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(part);
                    if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                        let line = String::from_utf8_lossy(&self.line);
                        let value = json!({ "name": self.name, "line": line });
                        self.context.out.value_line(&value)?;
                        self.line.clear();
                    }
                }
            }
        }
        Ok(())
    }
}

fn list(folder: &Path) -> Result<Vec<Log>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| folder.display().to_string())?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        logs.extend(log(name, entry.path()));
    }
    Ok(logs)
}

/// What the lab's machines printed: their files are where the lab keeps them, which the daemon
/// knows. Without it there is no lab that runs.
fn consoles(context: &Context) -> Vec<Log> {
    let machines = Daemon::connect(&context.state).and_then(|d| d.ask(async |c| c.lab().await));
    let machines = machines.unwrap_or_default().into_iter();
    let both = machines.flat_map(|machine| {
        ["", OLDER].map(|older| {
            let name = format!("console-{}.log{older}", machine.name);
            log(name, PathBuf::from(format!("{}{older}", machine.console_log)))
        })
    });
    both.flatten().collect()
}

/// The log of this name, if it is one of ours and there.
fn log(name: String, path: PathBuf) -> Option<Log> {
    let about = about(&name)?;
    let metadata = fs::metadata(&path).ok()?;
    let changed = metadata.modified().ok();
    let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let changed_at_ms = changed.and_then(|at| i64::try_from(at.as_millis()).ok());
    let changed_at_ms = changed_at_ms.unwrap_or_default();
    Some(Log { name, bytes: metadata.len(), changed_at_ms, about, path })
}

/// What is in the log of this name; nothing if it is none of ours.
fn about(name: &str) -> Option<String> {
    let newer = name.strip_suffix(OLDER);
    let stem = newer.unwrap_or(name).strip_suffix(".log")?;
    let is_it = |(log, _): &&(Name, &str)| match log {
        Only(name) => stem == *name,
        Each(begin) => stem.strip_prefix(begin).is_some_and(|rest| !rest.is_empty()),
    };
    let (_, about) = LOGS.iter().find(is_it)?;
    Some(if newer.is_some() { format!("{about}; the older part") } else { (*about).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{install_log::InstallLog, journal};

    #[test]
    fn only_logs_are_listed_each_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["undercloud.log", "console-a.log", "stranger.txt", "overcloud-full-.log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let mut names: Vec<_> = list(dir.path()).unwrap().into_iter().map(|l| l.name).collect();
        names.sort();
        assert_eq!(names, ["console-a.log", "undercloud.log"]);
        assert!(list(&dir.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn whatever_the_daemon_writes_is_a_log_that_can_be_shown() {
        let dir = tempfile::tempdir().unwrap();
        InstallLog::new(dir.path().to_owned(), 3).failed("a step failed");
        let journal = journal::Journal::new(dir.path().to_owned());
        for name in [journal::RAMDISK, journal::INSTALLED] {
            journal.append(name, "compute-0", 0, &["one".into()]);
        }
        for entry in fs::read_dir(dir.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(about(&name).is_some(), "{name} cannot be shown");
            assert!(about(&format!("{name}.1")).unwrap().ends_with("; the older part"));
        }
        assert!(dir.path().join("overcloud_deployment_3.log").exists());
    }
}
