//! The peers, in a Python environment of their own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{super::process::Server, PASSWORD, USER};
use crate::cargo;

/// What is installed; a change makes a new environment.
const PACKAGES: [&str; 2] = ["virtualbmc==3.3.0", "sushy-tools==2.2.0"];
const VIRTUALBMC: &str = include_str!("../../../../crates/bmc/tests/referee/virtualbmc_peer.py");
const SUSHY: &str = include_str!("sushy.py");

/// VirtualBMC with its libvirt.
pub(super) struct VirtualBmc {
    pub(super) server: Server,
    _libvirt: Libvirt,
}

/// The daemon that libvirt's client starts for itself; it ends when this is dropped.
struct Libvirt {
    pid_file: PathBuf,
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        let Ok(pid) = fs::read_to_string(&self.pid_file) else { return };
        // One that is gone already is as good.
        let _ = Command::new("kill").arg(pid.trim()).status();
    }
}

/// Where their Python is.
pub(super) struct Peers {
    python: PathBuf,
}

impl Peers {
    /// Installs them, unless they are there.
    pub(super) fn new() -> Result<Self> {
        let cache = env::var_os("UNDERCLOUD_CACHE").map(PathBuf::from);
        let cache =
            cache.map_or_else(|| Ok(cargo::target_directory()?.join("cache")), anyhow::Ok)?;
        let folder = cache.join("bench-peers");
        let python = folder.join("bin/python");
        let stamp = folder.join("packages");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == PACKAGES.join("\n")) {
            return Ok(Self { python });
        }
        fs::create_dir_all(&folder).context("cannot make the peers' folder")?;
        // Debian's own Python is the one that Debian's python3-libvirt is for.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "venv", "--clear", "--system-site-packages"]).arg(&folder);
        run(&mut command)?;
        let install = ["-m", "pip", "install", "--quiet"];
        run(Command::new(&python).args(install).args(PACKAGES))?;
        fs::write(stamp, PACKAGES.join("\n")).context("cannot finish the peers' folder")?;
        Ok(Self { python })
    }

    /// VirtualBMC in front of a machine of a libvirt of its own, which it asks for each request; says
    /// its port.
    pub(super) fn virtualbmc(&self, folder: &Path) -> Result<VirtualBmc> {
        let folder = folder.join("libvirt");
        fs::create_dir(&folder).context("cannot make a folder for libvirt")?;
        // Root has no session of libvirt's: it is somebody else there.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(&self.python);
        for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, &folder);
        }
        command.args(["-c", VIRTUALBMC, USER, PASSWORD, "qemu:///session"]);
        let libvirt = Libvirt { pid_file: folder.join("libvirt/libvirtd.pid") };
        let server = Server::start(&mut command, "PORT")
            .context("VirtualBMC needs Debian's python3-libvirt and libvirt-daemon-driver-qemu")?;
        Ok(VirtualBmc { server, _libvirt: libvirt })
    }

    /// The emulator of sushy-tools; says its port and the id of its machine.
    pub(super) fn sushy(&self, kind: &str, folder: &Path) -> Result<Server> {
        let folder = folder.join(kind);
        fs::create_dir(&folder).context("cannot make a folder for sushy-tools")?;
        let mut command = Command::new(&self.python);
        command.args(["-c", SUSHY, kind]).arg(folder);
        Server::start(&mut command, "PORT")
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed; this needs Debian's python3-venv and PyPI");
    Ok(())
}
