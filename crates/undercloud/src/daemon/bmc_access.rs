//! Port and credentials of each virtual BMC: made once, kept for as long as the lab.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use undercloud_bmc::{
    credentials::{Credentials, generated_password},
    handle::ServerHandle,
    memory::MemoryFile,
};
use undercloud_lab::{Machine, MachineDefinition, instackenv::BmcAccess};
use undercloud_model::{Secret, expose_on_the_wire};

use super::redfish::Listed;
use crate::{state::StateDir, whole_file};

/// The one user of a BMC.
const USER: &str = "admin";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    port: u16,
    #[serde(serialize_with = "expose_on_the_wire")]
    password: Secret,
}

/// Access to the machines' BMCs, in their order. New machines get a free port of this state; what is
/// kept of others is forgotten.
///
/// # Errors
/// When a file cannot be read or written, or there are too many machines.
pub(crate) fn ensure(state: &StateDir, machines: &[&Machine]) -> Result<Vec<BmcAccess>> {
    let path = state.bmc_credentials();
    let mut kept = read(&path)?;
    let gone: Vec<String> = {
        let is_there = |name: &&String| machines.iter().any(|m| m.name().as_str() == **name);
        kept.keys().filter(|name| !is_there(name)).cloned().collect()
    };
    for name in &gone {
        // First what is only found by its name.
        remove_file(&memory_path(state, name))?;
        kept.remove(name);
    }
    let mut is_changed = !gone.is_empty();
    for machine in machines {
        let free = state.lab_bmc_ports().find(|p| kept.values().all(|k| k.port != *p));
        if !kept.contains_key(machine.name().as_str()) {
            let port = free.context("this state has no free port for another BMC")?;
            kept.insert(machine.name().to_string(), Kept { port, password: password()? });
            is_changed = true;
        }
    }
    if is_changed {
        whole_file::write(&path, &serde_json::to_vec_pretty(&kept)?)?;
    }
    Ok(machines.iter().filter_map(|m| access(state, &kept, m.definition())).collect())
}

type AllKept = BTreeMap<String, Kept>;

fn read(path: &Path) -> Result<AllKept> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("the BMCs' credentials are damaged"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).context("cannot read the BMCs' credentials"),
    }
}

fn access(state: &StateDir, kept: &AllKept, machine: &MachineDefinition) -> Option<BmcAccess> {
    let kept = kept.get(machine.name.as_str())?;
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (user, password) = (USER.to_owned(), kept.password.clone());
    let redfish_port = state.redfish_port();
    Some(BmcAccess { address, port: kept.port, redfish_port, user, password })
}

/// Gives the BMCs of a copied lab, whose credentials are in `file`, ports of the state that it will be
/// in; says how each machine's is reached there.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn move_to<'a>(
    state: &StateDir,
    file: &Path,
    machines: &'a [MachineDefinition],
) -> Result<Vec<(&'a MachineDefinition, BmcAccess)>> {
    let mut kept = read(file)?;
    let mut ports: Vec<&mut u16> = kept.values_mut().map(|kept| &mut kept.port).collect();
    // In the order in which they were given.
    ports.sort();
    let mut free = state.lab_bmc_ports();
    for port in ports {
        *port = free.next().context("this state has no free port for another BMC")?;
    }
    whole_file::write(file, &serde_json::to_vec_pretty(&kept)?)?;
    let reached = machines.iter().map(|m| Some((m, access(state, &kept, m)?)));
    Ok(reached.flatten().collect())
}

/// The BMC of a machine of the lab: by IPMI, what it keeps, and by Redfish.
#[derive(Debug)]
pub(super) struct Bmc {
    pub(super) server: ServerHandle,
    pub(super) memory: MemoryFile,
    pub(super) listed: Listed,
}

impl Bmc {
    /// Runs until `stop`, and then what it keeps is written down. `power` follows its machine.
    ///
    /// # Errors
    /// A part of it ended by itself; which.
    pub(super) async fn run(
        self,
        power: impl Future<Output = ()> + Send,
        stop: CancellationToken,
    ) -> Result<(), &'static str> {
        let Self { server, memory, listed } = self;
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            () = server.ended() => Err("its IPMI server ended"),
            () = memory.ended() => Err("what it keeps is no longer written down"),
            () = power => Err("nobody minds its machine any more"),
        };
        drop(listed);
        server.shutdown().await;
        memory.close().await;
        ended
    }
}

/// What a machine's BMC keeps. One that has kept nothing yet begins with `credentials`.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn memory(
    state: &StateDir,
    machine: &Machine,
    credentials: Credentials,
) -> Result<MemoryFile> {
    let folder = state.bmc_memories();
    let mut private = fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(MemoryFile::open(memory_path(state, machine.name().as_str()), credentials)?)
}

fn memory_path(state: &StateDir, machine: &str) -> PathBuf {
    state.bmc_memories().join(format!("{machine}.json"))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Forgets all of that, with the lab.
///
/// # Errors
/// When a file cannot be removed.
pub(crate) fn remove(state: &StateDir) -> io::Result<()> {
    match fs::remove_dir_all(state.bmc_memories()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    remove_file(&state.bmc_credentials())
}

/// A new BMC's password.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(super) fn password() -> Result<Secret> {
    let password = generated_password().context("the kernel gives no random bytes")?;
    Ok(Secret::new(password.as_str()))
}
