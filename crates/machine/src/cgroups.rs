//! What a machine may use of the host: devices, memory, processes, processor time.
//!
//! ```text
//! <controller>/undercloud/SCOPE/      the limits, which root inside cannot lift: it is above
//! <controller>/undercloud/SCOPE/m/    the machine, whose own control groups begin here
//! ```
//! Hosts have version 2 (one tree), version 1 (a tree for each controller), or both side by side.
//! Which devices are a list of version 1's `devices`, or a program of version 2's ([`crate::bpf`]);
//! where both are, both are asked.

use std::{fs, io, path::Path};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    MachineError,
    bpf::{self, Attached},
    rules,
};

/// The group of all machines.
const OURS: &str = "undercloud";
/// The machine's own, one below its limits.
const MACHINE: &str = "m";
/// Processes and threads of one machine.
const PIDS_MAX: u32 = 32_768;
/// `cpu.shares` of one processor (version 1), `cpu.weight` (version 2).
const SHARES: u32 = 1024;
const WEIGHT: u32 = 100;

/// Where a host keeps its control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trees {
    /// Version 2's tree.
    pub(crate) unified: Option<Utf8PathBuf>,
    /// Version 1's trees, by controller.
    controllers: Vec<(String, Utf8PathBuf)>,
    /// All others of version 1. A machine is below their roots too: who mounts such a tree inside
    /// sees it from there, and not the root's `release_agent`, which the host runs.
    others: Vec<Utf8PathBuf>,
}

impl Trees {
    /// From `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    pub(crate) fn read(mountinfo: &str) -> Self {
        let mut trees = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4) else { continue };
            let mut after = after.split(' ');
            match after.next() {
                Some("cgroup2") if trees.unified.is_none() => trees.unified = Some(point.into()),
                Some("cgroup") => {
                    let options = after.nth(1).unwrap_or_default();
                    let is_used = |name: &&str| CONTROLLERS.contains(name);
                    let used: Vec<&str> = options.split(',').filter(is_used).collect();
                    if used.is_empty() && !trees.others.iter().any(|other| other == point) {
                        trees.others.push(point.into());
                    }
                    for name in used {
                        if trees.controller(name).is_none() {
                            trees.controllers.push((name.to_owned(), point.into()));
                        }
                    }
                }
                _ => {}
            }
        }
        trees
    }

    /// Those of this host.
    pub(crate) fn of_host() -> Result<Self, MachineError> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).map_err(MachineError::io(format!("read {path}")))?;
        let trees = Self::read(&text);
        if trees.unified.is_none() {
            let text = "no cgroup2 file system is mounted here, and systemd in a machine needs one; \
                        mount -t cgroup2 none /sys/fs/cgroup/unified";
            return Err(MachineError::Host(text.to_owned()));
        }
        Ok(trees)
    }

    /// Whether the host can refuse devices.
    pub(crate) fn refuse_devices(&self) -> Result<(), MachineError> {
        if self.controller("devices").is_some() { Ok(()) } else { bpf::works() }
    }

    fn controller(&self, name: &str) -> Option<&Utf8Path> {
        self.controllers.iter().find(|(known, _)| known == name).map(|(_, point)| point.as_path())
    }

    fn roots(&self) -> impl Iterator<Item = &Utf8Path> {
        self.unified
            .iter()
            .chain(self.controllers.iter().map(|(_, point)| point))
            .chain(&self.others)
            .map(|p| p.as_path())
    }
}

/// Version 1's controllers that are used.
const CONTROLLERS: [&str; 5] = ["devices", "memory", "pids", "cpu", "cpuacct"];

/// What one machine may use.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    pub(crate) scope: &'a str,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Block devices, as major and minor number.
    pub(crate) devices: &'a [(u32, u32)],
}

/// A machine's groups, ready to be entered.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The files by which a process enters them.
    pub(crate) entries: Vec<Utf8PathBuf>,
    /// Programs of version 2: as long as this is kept.
    _rules: Option<Attached>,
}

/// Makes a machine's groups.
pub(crate) fn make(trees: &Trees, limits: &Limits<'_>) -> Result<Groups, MachineError> {
    let mut entries: Vec<Utf8PathBuf> = Vec::new();
    let mut rules = None;
    if let Some(root) = &trees.unified {
        // Controllers that the host gives to version 2 are handed on, level by level.
        let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let hand_on: Vec<String> = ["memory", "pids", "cpu"]
            .iter()
            .filter(|name| available.split_whitespace().any(|have| have == **name))
            .map(|name| format!("+{name}"))
            .collect();
        let group = root.join(OURS).join(limits.scope);
        for level in [root.clone(), root.join(OURS), group.clone()] {
            make_directory(&level)?;
            for name in &hand_on {
                set(&level.join("cgroup.subtree_control"), name)?;
            }
        }
        let memory = (u64::from(limits.memory_mib) << 20).to_string();
        let weight = (limits.cpus * WEIGHT).min(10_000).to_string();
        let pids = PIDS_MAX.to_string();
        for (controller, file, value) in [
            ("memory", "memory.max", &memory),
            ("pids", "pids.max", &pids),
            ("cpu", "cpu.weight", &weight),
        ] {
            if hand_on.iter().any(|name| name[1..] == *controller) {
                set(&group.join(file), value)?;
            }
        }
        // With version 1's list, an old kernel without such programs is not refused.
        rules = match bpf::attach(&group, limits.devices) {
            Err(_) if trees.controller("devices").is_some() => None,
            attached => Some(attached?),
        };
        entries.push(enter(&group)?);
    }
    for (name, root) in &trees.controllers {
        let group = root.join(OURS).join(limits.scope);
        make_directory(&root.join(OURS))?;
        make_directory(&group)?;
        match name.as_str() {
            "memory" => {
                let bytes = u64::from(limits.memory_mib) << 20;
                set(&group.join("memory.limit_in_bytes"), &bytes.to_string())?;
            }
            "pids" => set(&group.join("pids.max"), &PIDS_MAX.to_string())?,
            "cpu" => set(&group.join("cpu.shares"), &(limits.cpus * SHARES).to_string())?,
            "devices" => allow_devices(&group, limits.devices)?,
            _ => {}
        }
        let entry = enter(&group)?;
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    for root in &trees.others {
        let ours = root.join(OURS);
        let group = ours.join(limits.scope);
        for level in [&ours, &group, &group.join(MACHINE)] {
            make_directory(level)?;
            inherit_cpuset(level)?;
        }
        entries.push(enter(&group)?);
    }
    Ok(Groups { entries, _rules: rules })
}

fn allow_devices(group: &Utf8Path, disks: &[(u32, u32)]) -> Result<(), MachineError> {
    set(&group.join("devices.deny"), "a")?;
    let allow = group.join("devices.allow");
    rules::lines(disks).iter().try_for_each(|line| set(&allow, line))
}

/// A new group of `cpuset` has no processors, and takes nobody in before it has
/// (Linux, `Documentation/admin-guide/cgroup-v1/cpusets.rst`).
fn inherit_cpuset(group: &Utf8Path) -> Result<(), MachineError> {
    let Some(parent) = group.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Ok(all) = fs::read_to_string(parent.join(file)) else { continue };
        set(&group.join(file), all.trim())?;
    }
    Ok(())
}

/// Removes a machine's groups, which must be empty; those that are not there are gone already.
///
/// # Errors
/// When one cannot be removed: something still runs in it.
pub fn remove(scope: &str) -> Result<(), MachineError> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(MachineError::io(format!("read {path}")))?;
    let trees = Trees::read(&text);
    for root in trees.roots() {
        let group = root.join(OURS).join(scope);
        remove_tree(group.as_std_path())
            .map_err(MachineError::io(format!("remove the control group {group}")))?;
        // The last machine's end takes the group of all.
        let _not_empty = fs::remove_dir(root.join(OURS));
    }
    Ok(())
}

/// Groups are removed from the innermost one outwards; their files go with them.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// What a machine used: processor time in microseconds and memory in bytes, without page cache.
pub fn used(scope: &str) -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let trees = Trees::read(&text);
    let group = |root: &Utf8Path| root.join(OURS).join(scope);
    let cpu = match trees.controller("cpuacct") {
        Some(root) => number(&group(root).join("cpuacct.usage"))? / 1000,
        None => field(&group(trees.unified.as_deref()?).join("cpu.stat"), "usage_usec")?,
    };
    let memory = match trees.controller("memory") {
        Some(root) => field(&group(root).join("memory.stat"), "total_rss")?,
        None => field(&group(trees.unified.as_deref()?).join("memory.stat"), "anon")?,
    };
    Some((cpu, memory))
}

fn number(path: &Utf8Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Utf8Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

fn enter(group: &Utf8Path) -> Result<Utf8PathBuf, MachineError> {
    let machine = group.join(MACHINE);
    make_directory(&machine)?;
    Ok(machine.join("cgroup.procs"))
}

fn make_directory(path: &Utf8Path) -> Result<(), MachineError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(MachineError::io(format!("make the control group {path}"))(error))
        }
        _ => Ok(()),
    }
}

fn set(path: &Utf8Path, value: &str) -> Result<(), MachineError> {
    fs::write(path, value).map_err(MachineError::io(format!("write {value} to {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 30 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
32 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
33 30 0:28 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n\
34 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const UNIFIED: &str = "\
35 22 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const TOGETHER: &str = "\
36 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
37 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";

    #[test]
    fn hosts_of_both_versions_are_read() {
        let both = Trees::read(HYBRID);
        assert_eq!(both.unified.as_deref(), Some(Utf8Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(both.controller("memory"), Some(Utf8Path::new("/sys/fs/cgroup/memory")));
        assert!(both.controller("devices").is_some());
        let two = Trees::read(UNIFIED);
        assert_eq!(two.unified.as_deref(), Some(Utf8Path::new("/sys/fs/cgroup")));
        assert!(two.controllers.is_empty());
        let together = Trees::read(TOGETHER);
        assert_eq!(together.controller("cpu"), together.controller("cpuacct"));
        assert_eq!(together.unified, None);
        assert_eq!(together.others, ["/sys/fs/cgroup/systemd"]);
    }
}
