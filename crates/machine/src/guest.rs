//! One boot: from a choice of what to boot to the end of its process 1.

use std::{
    fs::File,
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    process::Command,
    sync::Arc,
};

use camino::Utf8PathBuf;
use rustix::{process::Signal, thread::UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::{
    MachineError, Settings,
    cgroups::{self, Limits, Trees},
    disk::{self, Device},
    images::{ImageMount, Images},
    network, pxe,
    serial::Serial,
};

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its system switched the machine off.
    PoweredOff,
    /// Its system started the machine anew.
    Restarted,
    /// It was ended from outside.
    Killed,
    /// Process 1 ended by itself, which no system survives.
    Crashed,
}

/// What process 1 is told before it becomes one ([`crate::enter`]).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Where the root file system is put together.
    pub(crate) root: Utf8PathBuf,
    pub(crate) system: System,
    /// The disk and its partitions.
    pub(crate) devices: Vec<Device>,
    pub(crate) disk_serial: String,
    /// How many cards there are: `eth0` and on.
    pub(crate) cards: usize,
    /// The terminal that becomes `/dev/console`.
    pub(crate) console: Utf8PathBuf,
    /// What `/proc/cmdline` shows.
    pub(crate) cmdline: String,
    /// The files by which its control groups are entered.
    pub(crate) groups: Vec<Utf8PathBuf>,
}

/// What starts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum System {
    /// The initial ramdisk in this file, in memory.
    Ramdisk { initrd: Utf8PathBuf },
    /// What is on the disk: the host's device of its root file system, and images to mount in it,
    /// each with the file that it is in.
    Disk { device: Utf8PathBuf, images: Vec<(ImageMount, Utf8PathBuf)> },
}

/// What may start: made by a try of one boot device.
pub(crate) enum Bootable {
    Disk(disk::Attached),
    Network(pxe::NetworkBoot),
}

/// Looks whether the disk can be started from.
pub(crate) fn from_disk(settings: &Settings) -> Result<Bootable, MachineError> {
    let attached = disk::attach(&settings.disk, true)?;
    let Some(root) = attached.root.and_then(|index| attached.devices.get(index)) else {
        let text = "it has no partition of type root (x86-64)";
        return Err(MachineError::NoSystem(text.to_owned()));
    };
    disk::grow(root)?;
    Ok(Bootable::Disk(attached))
}

/// Runs a system to its end. Call it on a thread that has entered the machine's network namespace;
/// process 1 dies with that thread. `started` is given the process's number.
pub(crate) fn run(
    settings: &Settings,
    bootable: &Bootable,
    images: Vec<(ImageMount, Utf8PathBuf)>,
    serial: &Serial,
    agent: &Arc<Images>,
    started: impl FnOnce(i32),
) -> Result<End, MachineError> {
    // What the ramdisk sees is the whole disk alone.
    let whole;
    let (attached, system, cmdline, _initrd): (_, _, _, Option<&File>) = match bootable {
        Bootable::Disk(attached) => {
            let root = attached.root.and_then(|index| attached.devices.get(index));
            let root = root.ok_or_else(|| MachineError::NoSystem("no root".to_owned()))?;
            let system = System::Disk { device: root.host.clone(), images };
            (attached, system, String::new(), None)
        }
        Bootable::Network(boot) => {
            whole = disk::attach(&settings.disk, false)?;
            let (pid, fd) = (std::process::id(), boot.initrd.as_raw_fd());
            let initrd = format!("/proc/{pid}/fd/{fd}").into();
            (&whole, System::Ramdisk { initrd }, boot.cmdline.clone(), Some(&boot.initrd))
        }
    };
    let trees = Trees::of_host()?;
    // Those of the boot before: their limits could not be set anew while it has groups below.
    cgroups::remove(&settings.scope)?;
    let numbers: Vec<_> = attached.devices.iter().map(|d| (d.major, d.minor)).collect();
    let limits = Limits {
        scope: &settings.scope,
        memory_mib: settings.memory_mib,
        cpus: settings.cpus,
        devices: &numbers,
    };
    // Kept until the boot has ended.
    let groups = cgroups::make(&trees, &limits)?;
    let plan = Plan {
        root: settings.root.clone(),
        system,
        devices: attached.devices.clone(),
        disk_serial: settings.disk_serial.clone(),
        cards: settings.cards.len(),
        console: serial.terminal.clone(),
        cmdline,
        groups: groups.entries.clone(),
    };
    let plan = serde_json::to_string(&plan)
        .map_err(|source| MachineError::Json { what: "the plan of a boot", source })?;
    // Mounts first: with a process namespace for its children, a thread starts no other thread.
    let failed = || MachineError::io::<std::io::Error>("take namespaces for the machine");
    leave_namespaces(UnshareFlags::NEWNS).map_err(failed())?;
    let _listening = agent.listen(&settings.root)?;
    let others = UnshareFlags::NEWPID | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    leave_namespaces(others).map_err(failed())?;
    let end = spawn_and_wait(&plan, serial, started);
    drop(groups);
    end
}

fn spawn_and_wait(
    plan: &str,
    serial: &Serial,
    started: impl FnOnce(i32),
) -> Result<End, MachineError> {
    let mut child = Command::new("/proc/self/exe")
        .args(["machine-inside", plan])
        .env_clear()
        .stdin(serial.stdio()?)
        .stdout(serial.stdio()?)
        .stderr(serial.stdio()?)
        .spawn()
        .map_err(MachineError::io("start process 1 of the machine"))?;
    started(i32::try_from(child.id()).unwrap_or_default());
    let status = child.wait().map_err(MachineError::io("wait for process 1 of the machine"))?;
    // reboot(2), "Behavior inside PID namespaces".
    let signal = status.signal();
    let is = |wanted: Signal| signal == Some(wanted.as_raw());
    Ok(if is(Signal::INT) {
        End::PoweredOff
    } else if is(Signal::HUP) {
        End::Restarted
    } else if is(Signal::KILL) {
        End::Killed
    } else {
        End::Crashed
    })
}

#[expect(
    deprecated,
    reason = "deprecated for what UnshareFlags::FILES does to file descriptors; it is not among these"
)]
fn leave_namespaces(flags: UnshareFlags) -> std::io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// Takes the calling thread into a network namespace of its own with the machine's cards.
pub(crate) fn enter_network(settings: &Settings) -> Result<(), MachineError> {
    network::enter_new(&settings.namespace, &settings.cards)
}
