//! Machines of a round: how many, what they take, and how they die.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::process::status_bytes;

const LAB: &str = include_str!("../../../../lab.toml");
const CLOUD: &str = include_str!("../../../../cloud.toml");
/// For what a killed machine ran to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

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
    let all = with_children(&machines)?;
    let begun = Instant::now();
    for machine in &machines {
        let pid = i32::try_from(*machine).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::KILL).context("cannot kill a machine")?;
    }
    while begun.elapsed() < GONE_MAX {
        if !all.iter().any(|(pid, started)| start_of(*pid) == Some(*started)) {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(POLL);
    }
    bail!("processes of killed machines are left after {} s", GONE_MAX.as_secs())
}

/// These processes and all below them, each with its start: numbers come again.
fn with_children(roots: &[u64]) -> Result<BTreeMap<u64, u64>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        if let Some(parent) = field(pid, 1) {
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
    let below = parents.keys().copied().filter(|pid| is_below(*pid));
    Ok(below.filter_map(|pid| Some((pid, start_of(pid)?))).collect())
}

fn start_of(pid: u64) -> Option<u64> {
    field(pid, 19)
}

/// A field of a process's status, counted from the one after its name (proc_pid_stat(5)).
fn field(pid: u64, index: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(index)?.parse().ok()
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
        assert!(all.contains_key(&me) && all.contains_key(&u64::from(child.id())), "{all:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_of(u64::from(child.id())), None);
    }
}
