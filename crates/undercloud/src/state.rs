//! The state directory: where everything of one undercloud is, and the names that derive from it,
//! so that two states on one host never collide.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::failure::Failure;
use undercloud_model::ErrorKind;

/// Where a state is when nobody says otherwise.
pub(crate) const DEFAULT_STATE: &str = "/var/lib/undercloud";
/// Where built images are kept between states.
pub(crate) const DEFAULT_CACHE: &str = "/var/cache/undercloud";

/// The first loopback port of the default state: its virtual BMCs answer from here on.
const DEFAULT_PORT_BASE: u16 = 6230;
/// Ports of one state: BMCs at the base, the OpenStack APIs after them.
const PORTS_PER_STATE: u16 = 100;
/// The first port for the BMC of a libvirt domain, counted from the base.
const DOMAIN_BMC_PORT_OFFSET: u16 = 40;
/// The OpenStack APIs' port, counted from the base.
const API_PORT_OFFSET: u16 = 90;
/// The port of the virtual BMCs' Redfish, counted from the base.
const REDFISH_PORT_OFFSET: u16 = 91;
/// The port from which BMCs fetch deploy CDs, counted from the base.
const MEDIA_PORT_OFFSET: u16 = 92;

/// A state directory by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state at `path`, which need not exist yet.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let root = std::path::absolute(path).with_context(|| path.display().to_string())?;
        // Unix sockets live in here; their paths hold at most 108 bytes (unix(7)).
        if root.as_os_str().len() > 70 {
            return Err(Failure::new(
                ErrorKind::Invalid,
                format!("the state directory's path is longer than 70 bytes: {}", root.display()),
            )
            .hint("choose a shorter one with --state; sockets in it cannot have longer names")
            .into());
        }
        Ok(Self { root })
    }

    /// Creates it, readable by root alone.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in [self.root.clone(), self.logs(), self.run(), self.pki()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot protect {}", self.root.display()))
    }

    /// Whether we may look into it. One that is not ours looks empty to everything that asks whether
    /// a file is there.
    ///
    /// # Errors
    /// It is another user's.
    pub(crate) fn check_access(&self) -> Result<()> {
        match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let message = format!("{} is another user's", self.root.display());
                Err(Failure::new(ErrorKind::Denied, message).hint("use sudo").into())
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn exists(&self) -> bool {
        self.root.is_dir()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// SQLite.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("undercloud.db")
    }

    /// How much is kept of all that grows, where a person says that.
    pub(crate) fn limits(&self) -> PathBuf {
        self.root.join("keep.toml")
    }

    /// One log for each step; see `undercloud logs`.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Machines of the lab: disks, firmware variables, sockets, console logs.
    pub(crate) fn lab(&self) -> PathBuf {
        self.root.join("lab")
    }

    /// What the lab is made of; it is there when the lab is.
    pub(crate) fn lab_definition(&self) -> PathBuf {
        self.lab().join("lab.json")
    }

    /// Ports and passwords of the virtual BMCs, 0600.
    pub(crate) fn bmc_credentials(&self) -> PathBuf {
        self.root.join("bmcs.json")
    }

    /// What each virtual BMC keeps: event log, users, settings.
    pub(crate) fn bmc_memories(&self) -> PathBuf {
        self.root.join("bmc-memories")
    }

    /// BMCs of libvirt's domains, with their passwords, 0600.
    pub(crate) fn domain_bmcs(&self) -> PathBuf {
        self.root.join("domain-bmcs.json")
    }

    /// What each of those keeps.
    pub(crate) fn domain_bmc_memories(&self) -> PathBuf {
        self.root.join("domain-bmc-memories")
    }

    /// Sockets and the daemon's lock.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Where the daemon takes orders, mode 0600.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run().join("undercloud.sock")
    }

    /// Held by the daemon while it runs; holds its process id.
    pub(crate) fn lock(&self) -> PathBuf {
        self.run().join("undercloud.pid")
    }

    /// Images and all else that is named by its digest.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Our CA and the certificates it signed.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The lab's machines in TripleO's format, 0600.
    pub(crate) fn instackenv(&self) -> PathBuf {
        self.root.join("instackenv.json")
    }

    /// The key that people's ssh logs in to the machines with.
    pub(crate) fn ssh(&self) -> PathBuf {
        self.root.join("ssh")
    }

    /// What tells this state from others: 32 bits of its path.
    pub(crate) fn tag(&self) -> u32 {
        // FNV-1a: the same path has the same tag in every release.
        self.root.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    }

    /// The first of this state's loopback ports.
    pub(crate) fn port_base(&self) -> u16 {
        if self.root == Path::new(DEFAULT_STATE) {
            return DEFAULT_PORT_BASE;
        }
        // 10000–29999: above the default, below the kernel's ephemeral ports (32768).
        let slot = u16::try_from(self.tag() % 200).unwrap_or_default();
        10_000 + slot * PORTS_PER_STATE
    }

    /// Ports for the BMCs of the lab's machines: as many as a lab has machines at most.
    pub(crate) fn lab_bmc_ports(&self) -> impl Iterator<Item = u16> + use<> {
        let base = self.port_base();
        base..(base + DOMAIN_BMC_PORT_OFFSET)
    }

    /// Ports for the BMCs of libvirt's domains: after those that a lab can have.
    pub(crate) fn domain_bmc_ports(&self) -> impl Iterator<Item = u16> + use<> {
        let base = self.port_base();
        (base + DOMAIN_BMC_PORT_OFFSET)..(base + API_PORT_OFFSET)
    }

    /// The loopback port of the undercloud's OpenStack APIs.
    pub(crate) fn api_port(&self) -> u16 {
        self.port_base() + API_PORT_OFFSET
    }

    /// The loopback port of the virtual BMCs' Redfish.
    pub(crate) fn redfish_port(&self) -> u16 {
        self.port_base() + REDFISH_PORT_OFFSET
    }

    /// The loopback port from which BMCs fetch deploy CDs.
    pub(crate) fn media_port(&self) -> u16 {
        self.port_base() + MEDIA_PORT_OFFSET
    }

    /// Removes everything in it, and itself.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.with_context(|| format!("cannot remove {}", self.root.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_have_different_names_and_ports() {
        let a = StateDir::new(Path::new("/srv/a")).unwrap();
        let b = StateDir::new(Path::new("/srv/b")).unwrap();
        assert_ne!(a.tag(), b.tag());
        assert_ne!(a.port_base(), b.port_base());
        assert!(a.port_base() >= 10_000 && a.api_port() < 30_000);
    }

    #[test]
    fn the_default_has_the_ports_people_know() {
        let state = StateDir::new(Path::new(DEFAULT_STATE)).unwrap();
        assert_eq!((state.lab_bmc_ports().next(), state.api_port()), (Some(6230), 6320));
        let ports = state.lab_bmc_ports().count();
        assert_eq!(ports, undercloud_lab::config::MACHINES_MAX, "one for each machine");
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        assert!(StateDir::new(Path::new(&format!("/{}", "x".repeat(80)))).is_err());
    }

    #[test]
    fn it_is_made_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("s")).unwrap();
        state.create().unwrap();
        let mode = fs::metadata(state.root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        state.remove().unwrap();
        assert!(!state.exists());
        state.remove().unwrap();
    }
}
