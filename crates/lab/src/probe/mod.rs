//! Does hardware virtualisation work here? Found out by running a guest.
//!
//! There are hosts where `/dev/kvm` opens and makes a virtual machine, and the guest then hangs, or
//! QEMU ends itself as soon as it copies the host's CPU. So a tiny guest is run exactly as
//! machines are (same board, CPU model, user and sandbox) and must reach long mode, print two
//! letters and leave, within [`DEADLINE`]. What does not is replaced by emulation, with the
//! reason in words.

mod guest;

use std::{
    fmt, io,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Gid, Mode, Uid};
use serde::{Deserialize, Serialize};

use crate::{
    LabError, command,
    machine::{device_nodes, files::make_directory, process::Process, user_command},
};

/// A guest that is this late with KVM is of no use: emulation takes half a second on an idle
/// machine.
const DEADLINE: Duration = Duration::from_secs(5);
/// Emulation is the last resort, and the machine may be busy.
const DEADLINE_TCG: Duration = Duration::from_secs(30);
/// The user that the guest runs as: the first of the range that machines have.
const UID: u32 = 0x7000_0000;

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// On the CPU.
    Kvm,
    /// Emulated.
    Tcg,
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Virtualisation {
    /// How machines will run.
    pub acceleration: Acceleration,
    /// Why, in a sentence for people.
    pub reason: String,
    /// How long the probe's guest took from QEMU's start to its end.
    pub took: Duration,
}

/// Runs the probe's guest with KVM, and if that fails under emulation.
///
/// # Errors
/// When no guest runs at all, or not as root.
pub async fn probe_virtualisation(qemu: &Utf8Path) -> Result<Virtualisation, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let kvm = if Utf8Path::new("/dev/kvm").exists() {
        run_guest(qemu, Acceleration::Kvm, DEADLINE).await?
    } else {
        Err("there is no /dev/kvm: the CPU or the BIOS has virtualisation switched off".to_owned())
    };
    let why_not = match kvm {
        Ok(took) => {
            let reason = format!("a test guest ran with KVM in {} ms", took.as_millis());
            return Ok(Virtualisation { acceleration: Acceleration::Kvm, reason, took });
        }
        Err(reason) => reason,
    };
    match run_guest(qemu, Acceleration::Tcg, DEADLINE_TCG).await? {
        Ok(took) => {
            let reason =
                format!("machines are emulated, because KVM does not work here: {why_not}");
            Ok(Virtualisation { acceleration: Acceleration::Tcg, reason, took })
        }
        Err(tcg) => {
            let reason = format!("with KVM, {why_not}; under emulation, {tcg}");
            Err(LabError::NoVirtualisation { reason })
        }
    }
}

/// Runs the guest once: how long it took, or why it failed.
async fn run_guest(
    qemu: &Utf8Path,
    acceleration: Acceleration,
    deadline: Duration,
) -> Result<Result<Duration, String>, LabError> {
    let directory = Workspace::new()?;
    let started = Instant::now();
    let child = spawn(qemu, acceleration, &directory.path)
        .map_err(|source| LabError::Spawn { program: qemu.to_string(), source })?;
    let mut process = Process::of_child(child)
        .map_err(|source| LabError::Spawn { program: qemu.to_string(), source })?;
    let in_time = process.ends_within(deadline).await;
    let took = started.elapsed();
    if !in_time {
        process.kill().map_err(LabError::file("kill the guest in", &directory.path))?;
        // A process that cannot be killed is the kernel's; the directory is removed all the same.
        process.ends_within(deadline).await;
    }
    let status = process.collect();
    let printed = std::fs::read(directory.path.join("serial.log")).unwrap_or_default();
    let spoke = printed.windows(guest::PRINTS.len()).any(|window| window == guest::PRINTS);
    let left =
        status.and_then(|status| status.code()) == Some(i32::from(guest::LEAVES_WITH) * 2 + 1);
    Ok(if in_time && spoke && left {
        Ok(took)
    } else if !in_time {
        let how_far = if spoke {
            "reached 64-bit mode and then hung"
        } else if printed.is_empty() {
            "hung before it printed anything"
        } else {
            "hung after its firmware had started"
        };
        Err(format!("the test guest {how_far} ({} s)", deadline.as_secs()))
    } else {
        let log = std::fs::read_to_string(directory.path.join("qemu.log")).unwrap_or_default();
        let said = log.lines().find(|line| !line.contains("warning: ")).unwrap_or("").trim();
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        Err(format!("QEMU ended ({status}) {said}").trim_end().to_owned())
    })
}

fn spawn(qemu: &Utf8Path, acceleration: Acceleration, directory: &Utf8Path) -> io::Result<Child> {
    let mut line = user_command(UID, qemu.as_str());
    let cpu = match acceleration {
        Acceleration::Kvm => "host",
        Acceleration::Tcg => "EPYC",
    };
    let accelerator = acceleration.to_string();
    line.extend(
        [
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
            "q35,usb=off,vmport=off,graphics=off",
            "-m",
            "32M",
            "-accel",
            &accelerator,
            "-cpu",
            cpu,
            "-sandbox",
            crate::machine::SANDBOX,
            "-serial",
            "file:serial.log",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=1",
            "-blockdev",
            "driver=file,node-name=file,filename=disk.raw",
            "-blockdev",
            "driver=raw,node-name=disk,file=file",
            "-device",
            "virtio-blk-pci,drive=disk,bootindex=0",
        ]
        .map(str::to_owned),
    );
    let log = std::fs::File::create(directory.join("qemu.log"))?;
    let spawn = || {
        if acceleration == Acceleration::Kvm {
            device_nodes::lend(UID, &[&device_nodes::KVM])?;
        }
        Command::new(&line[0])
            .args(&line[1..])
            .env_clear()
            .env("PATH", command::PATH)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    };
    // A thread of its own, since it may leave the mount namespace.
    thread::scope(|scope| {
        let thread = scope.spawn(spawn);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A directory for one run, gone afterwards.
struct Workspace {
    path: Utf8PathBuf,
}

impl Workspace {
    fn new() -> Result<Self, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("undercloud-probe-{}-{count}", std::process::id());
        let path = Utf8PathBuf::try_from(std::env::temp_dir())
            .unwrap_or_else(|_| Utf8PathBuf::from("/tmp"))
            .join(name);
        let workspace = Self { path };
        let path = &workspace.path;
        // A name that somebody else took in a directory for all is refused.
        std::fs::create_dir(path).map_err(LabError::file("create", path))?;
        make_directory(path, 0o700)?;
        let disk = path.join("disk.raw");
        std::fs::write(&disk, guest::disk()).map_err(LabError::file("write", &disk))?;
        for path in [path, &disk] {
            let (user, group) = (Uid::from_raw(UID), Gid::from_raw(UID));
            rustix::fs::chown(path.as_std_path(), Some(user), Some(group))
                .map_err(|error| LabError::file("set the owner of", path)(error.into()))?;
        }
        rustix::fs::chmod(disk.as_std_path(), Mode::from_raw_mode(0o600))
            .map_err(|error| LabError::file("set the mode of", &disk)(error.into()))?;
        Ok(workspace)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path, error = %error, "directory of the probe is left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QemuFiles;

    fn ready() -> Option<QemuFiles> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        QemuFiles::find().inspect_err(|error| println!("skipped: {error}")).ok()
    }

    #[tokio::test]
    async fn the_guest_runs_under_emulation() {
        let Some(files) = ready() else { return };
        let ran = run_guest(&files.qemu, Acceleration::Tcg, DEADLINE_TCG).await.unwrap();
        assert!(ran.is_ok(), "{ran:?}");
    }

    #[tokio::test]
    async fn a_guest_that_is_late_is_ended_and_said_to_hang() {
        let Some(files) = ready() else { return };
        let late = run_guest(&files.qemu, Acceleration::Tcg, Duration::from_millis(1)).await;
        let reason = late.unwrap().unwrap_err();
        assert!(reason.contains("hung before it printed anything"), "{reason}");
    }

    #[tokio::test]
    async fn the_probe_names_its_reason_and_leaves_nothing() {
        let Some(files) = ready() else { return };
        let found = probe_virtualisation(&files.qemu).await.unwrap();
        println!("{found:?}");
        match found.acceleration {
            Acceleration::Kvm => assert!(found.reason.contains("ran with KVM")),
            Acceleration::Tcg => assert!(found.reason.contains("because KVM does not work here: ")),
        }
    }
}
