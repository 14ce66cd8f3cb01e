//! `undercloud logs`: which logs there are, and what is in each.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;
use undercloud_model::ErrorKind;

use super::Context;
use crate::{clock, failure::Failure, out};

/// Every log by its name, and what is in it. A name that ends with `-` stands for one log of each
/// machine.
const LOGS: &[(&str, &str)] = &[
    ("undercloud.log", "the daemon: every transition of every machine, and its own faults"),
    ("openstack-build-images.log", "every program that built the images, and what it printed"),
    (
        "openstack-build-containers.log",
        "every program that built the container images, and what it printed",
    ),
    ("ironic-python-agent.log", "what the ramdisks' agents did: inventory, wipe, write"),
    ("ironic-python-agent-", "the same, of one machine"),
    ("overcloud_install.log", "every step of every installation of the cloud, as it happened"),
    ("overcloud_deployment_", "one deployment of the cloud: its steps and how long each took"),
    ("overcloud-full.log", "what the installed machines' agents did, and what services said"),
    ("overcloud-full-", "the same, of one machine"),
    ("openstack_failures_long.log", "every failure of an installation or a verification"),
    ("console-", "what a machine of the lab printed on its serial console"),
];

#[derive(Debug, Serialize)]
struct Log {
    name: String,
    bytes: u64,
    changed_at_ms: i64,
    about: &'static str,
}

pub(super) fn run(context: &Context, name: Option<&str>) -> Result<()> {
    let folder = context.state.logs();
    let logs = list(&folder)?;
    let Some(name) = name else {
        let header = ["log", "size", "changed", "what is in it"];
        return context.out.rows(&header, &logs, |log| {
            let changed = clock::rfc3339(log.changed_at_ms);
            vec![log.name.clone(), out::bytes(log.bytes), changed, log.about.to_owned()]
        });
    };
    let known = |log: &&Log| log.name == name || log.name == format!("{name}.log");
    let Some(log) = logs.iter().find(known) else {
        return Err(Failure::new(ErrorKind::NotFound, format!("there is no log `{name}`"))
            .hint("undercloud logs")
            .into());
    };
    let path = folder.join(&log.name);
    let mut file = fs::File::open(&path).with_context(|| path.display().to_string())?;
    io::copy(&mut file, &mut io::stdout().lock())?;
    Ok(())
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
        let known = |(log, _): &&(&str, &str)| {
            name == *log || (log.ends_with('-') && name.starts_with(log))
        };
        let Some((_, about)) = LOGS.iter().find(known) else { continue };
        let metadata = entry.metadata().with_context(|| name.clone())?;
        let changed = metadata.modified().ok();
        let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let changed_at_ms = changed.and_then(|at| i64::try_from(at.as_millis()).ok());
        logs.push(Log {
            name,
            bytes: metadata.len(),
            changed_at_ms: changed_at_ms.unwrap_or_default(),
            about,
        });
    }
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_are_listed_each_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["undercloud.log", "console-a.log", "stranger.txt"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let names: Vec<_> = list(dir.path()).unwrap().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["console-a.log", "undercloud.log"]);
        assert!(list(&dir.path().join("absent")).unwrap().is_empty());
    }
}
