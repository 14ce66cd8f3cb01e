//! Machines of a round: how many, what they take, and how they die.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;

use super::super::process::status_bytes;

const LAB: &str = include_str!("../../../../lab.toml");
const CLOUD: &str = include_str!("../../../../cloud.toml");
/// For what a killed machine ran to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);

/// Writes a lab and a cloud of one controller and so many compute machines.
pub(super) fn write(computes: u32, lab: &Path, cloud: &Path) -> Result<()> {
    let (mut machines, mut roles) = (LAB.to_owned(), String::new());
    for number in 1..computes {
        write!(
            machines,
            "\n[[machine]]\nname = \"compute-{number}\"\nprofile = \"compute\"\nfirmware = \"uefi\"\n\
             memory_mib = 4096\ncpus = 3\ndisk_gib = 20\n\
             networks = [\"provisioning\", \"internal\", \"external\"]\n"
        )?;
        write!(roles, "[[machine]]\nname = \"compute-{number}\"\nrole = \"compute\"\n\n")?;
    }
    // Tables of the file's end belong to what is before them: machines go before the networks.
    let networks = CLOUD.find("# Between the machines").context("cloud.toml has changed")?;
    let (before, after) = CLOUD.split_at(networks);
    fs::write(lab, machines)?;
    fs::write(cloud, format!("{before}{roles}{after}"))?;
    Ok(())
}

fn pids(machines: &Value) -> Result<Vec<u64>> {
    let machines = machines.as_array().context("no list of machines")?;
    machines.iter().map(|machine| machine["pid"].as_u64().context("a machine is off")).collect()
}

/// What all of them take, in bytes: containers now, virtual machines at most.
pub(super) fn memory(machines: &Value) -> Result<f64> {
    let mut all = 0.0;
    for machine in machines.as_array().context("no list of machines")? {
        all += match machine["kind"].as_str() {
            Some("container") => machine["memory_bytes"].as_f64().context("no memory")?,
            _ => status_bytes(machine["pid"].as_u64().context("a machine is off")?, "VmHWM:")?,
        };
    }
    Ok(all)
}

/// Kills every machine's process at once; says when nothing that they started was there any more.
pub(super) fn kill(machines: &Value) -> Result<Duration> {
    let machines = pids(machines)?;
    // What has ended meanwhile is gone already.
    let all: Vec<OwnedFd> =
        with_children(&machines)?.into_iter().filter_map(|pid| handle(pid).ok()).collect();
    let begun = Instant::now();
    for machine in &machines {
        kill_process(process(*machine)?, Signal::KILL).context("cannot kill a machine")?;
    }
    for fd in &all {
        let left = Timespec::try_from(GONE_MAX.saturating_sub(begun.elapsed()))?;
        // Readable when the process has ended (pidfd_open(2)).
        let ended = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left));
        ensure!(
            ended.context("cannot wait for a process")? > 0,
            "processes of killed machines are left after {} s",
            GONE_MAX.as_secs()
        );
    }
    Ok(begun.elapsed())
}

fn process(pid: u64) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process")
}

fn handle(pid: u64) -> Result<OwnedFd> {
    Ok(pidfd_open(process(pid)?, PidfdFlags::empty())?)
}

/// These processes and all below them.
fn with_children(roots: &[u64]) -> Result<Vec<u64>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            parents.insert(pid, parent);
        }
    }
    let is_below = |mut pid: u64| {
        // A chain of parents is short; one that changed meanwhile must not be a circle.
        for _ in 0..64 {
            if roots.contains(&pid) {
                return true;
            }
            match parents.get(&pid) {
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    Ok(parents.keys().copied().filter(|pid| is_below(*pid)).collect())
}

/// From a process's status, behind its name (proc_pid_stat(5)).
fn parent_of(pid: u64) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_machines_are_in_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let (lab, cloud) = (folder.path().join("lab"), folder.path().join("cloud"));
        write(3, &lab, &cloud).unwrap();
        for path in [lab, cloud] {
            let table: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
            assert_eq!(table["machine"].as_array().unwrap().len(), 4);
        }
    }

    #[test]
    fn a_process_has_its_children() {
        let me = u64::from(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let all = with_children(&[me]).unwrap();
        assert!(all.contains(&me) && all.contains(&u64::from(child.id())), "{all:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let left = with_children(&[me]).unwrap();
        assert!(!left.contains(&u64::from(child.id())), "{left:?}");
        assert!(handle(u64::from(child.id())).is_err());
    }
}
