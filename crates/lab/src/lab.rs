//! The lab as a whole: create, open, start, stop, delete.
//!
//! ```text
//! <state>/lab/lab.json        networks and machine definitions, written once
//! <state>/lab/machines/NAME/  one directory a machine
//! ```
//! Creating a lab that exists changes nothing, and mends what is missing: after a reboot of the
//! host, the namespace. A machine does not change; machines come and go ([`resize`]). For another lab
//! this one is deleted.

mod adopt;
mod resize;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use undercloud_model::{MacAddr, NodeName, PowerAction, PowerState};

use crate::{
    Acceleration, DiskDefinition, HostAccess, LabConfig, LabError, LabNames, Machine,
    MachineDefinition, MachineKind, MachineStatus, MemoryNeed, Network, NetworkConfig, NetworkName,
    NicDefinition, QemuFiles,
    machine::{
        Host,
        files::{MachineFiles, make_directory, write_json},
    },
};

/// How long operating systems have to shut down before their machines are switched off.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(60);

/// What a lab runs with.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// QEMU and firmware.
    pub files: QemuFiles,
    /// As [`crate::probe_virtualisation`] found.
    pub acceleration: Acceleration,
    /// This program, which machines that are containers run as.
    pub program: std::path::PathBuf,
}

/// What is kept of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Definition {
    networks: Vec<NetworkConfig>,
    machines: Vec<MachineDefinition>,
    /// Those that came later than `lab.toml` said.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    grown: BTreeSet<NodeName>,
    /// Those that `lab.toml` said and that were taken away.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    shrunk: BTreeSet<NodeName>,
    /// Those of which something may be left on this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<MachineDefinition>,
}

impl Definition {
    fn of(names: &LabNames, config: &LabConfig) -> Self {
        Self {
            networks: config.networks.clone(),
            machines: definitions(names, config),
            grown: BTreeSet::new(),
            shrunk: BTreeSet::new(),
            leaving: Vec::new(),
        }
    }
}

/// A lab. Cheap to clone: its machines are handles.
#[derive(Debug, Clone)]
pub struct Lab {
    directory: Utf8PathBuf,
    network: Network,
    host: Arc<Host>,
    host_access: HostAccess,
    machines: BTreeMap<NodeName, Machine>,
}

impl Lab {
    /// Makes the lab that `config` describes, with all machines off, or opens it when it is there
    /// already.
    ///
    /// # Errors
    /// Not root; another lab is there; too little memory; a file or a network cannot be made.
    pub async fn create(
        state: &Utf8Path,
        config: &LabConfig,
        options: LabOptions,
    ) -> Result<Self, LabError> {
        need_root()?;
        let names = LabNames::for_state(state)?;
        let wanted = Definition::of(&names, config);
        let directory = LabNames::directory(state);
        let definition = if let Some(existing) = read(&directory)? {
            if let Some(difference) = difference(&existing, &wanted) {
                return Err(LabError::Differs { difference });
            }
            existing
        } else {
            let sizes = wanted.machines.iter().map(|machine| (machine.kind, machine.memory_mib));
            MemoryNeed::of(sizes, options.acceleration)?.check("the lab")?;
            Network::new(&names, &wanted.networks).check().await?;
            make_directory(&directory, 0o700)?;
            write(&directory, &wanted)?;
            wanted
        };
        Self::attach(&names, directory, definition, options).await
    }

    /// Whether the lab in `state` is the one that `config` describes.
    ///
    /// # Errors
    /// It is another one, or its file cannot be read.
    pub fn check(state: &Utf8Path, config: &LabConfig) -> Result<(), LabError> {
        let names = LabNames::for_state(state)?;
        let wanted = Definition::of(&names, config);
        let existing = read(&LabNames::directory(state))?;
        let differs = existing.and_then(|existing| difference(&existing, &wanted));
        differs.map_or(Ok(()), |difference| Err(LabError::Differs { difference }))
    }

    /// What the machines of the lab in `state` are made of; none when there is no lab.
    ///
    /// # Errors
    /// When the lab's file is damaged.
    pub fn kinds(state: &Utf8Path) -> Result<BTreeMap<NodeName, MachineKind>, LabError> {
        let known = read(&LabNames::directory(state))?;
        let machines = known.into_iter().flat_map(|known| known.machines);
        Ok(machines.map(|machine| (machine.name, machine.kind)).collect())
    }

    /// Opens the lab in `state`, if there is one. Machines that run are found.
    ///
    /// # Errors
    /// Not root; the lab's files are damaged; its network cannot be made again.
    pub async fn open(state: &Utf8Path, options: LabOptions) -> Result<Option<Self>, LabError> {
        need_root()?;
        let directory = LabNames::directory(state);
        let Some(definition) = read(&directory)? else { return Ok(None) };
        let names = LabNames::for_state(state)?;
        Self::attach(&names, directory, definition, options).await.map(Some)
    }

    async fn attach(
        names: &LabNames,
        directory: Utf8PathBuf,
        definition: Definition,
        options: LabOptions,
    ) -> Result<Self, LabError> {
        let network = Network::new(names, &definition.networks);
        let host_access = network.ensure(&definition.machines.iter().collect::<Vec<_>>()).await?;
        let LabOptions { files, acceleration, program } = options;
        let namespace = network.namespace().to_owned();
        let host = Arc::new(Host { names: names.clone(), program, files, acceleration, namespace });
        make_directory(&directory.join("machines"), 0o711)?;
        let mut lab = Self { directory, network, host, host_access, machines: BTreeMap::new() };
        lab.add(definition.machines)?;
        if let Err(error) = lab.finish_leaving().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a machine that was taken away is not all gone");
        }
        Ok(lab)
    }

    /// Makes what is missing of these machines' files, and minds those that nobody minds yet.
    fn add(&mut self, definitions: Vec<MachineDefinition>) -> Result<(), LabError> {
        for machine in definitions {
            if self.machines.contains_key(&machine.name) {
                continue;
            }
            let files = self.files(&machine.name);
            files.create(&machine, &self.host.files)?;
            let name = machine.name.clone();
            self.machines.insert(name, Machine::attach(machine, files, self.host.clone())?);
        }
        Ok(())
    }

    fn files(&self, machine: &NodeName) -> MachineFiles {
        MachineFiles::new(self.directory.join("machines").join(machine.as_str()))
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whether the host reaches its external network.
    pub fn host_access(&self) -> &HostAccess {
        &self.host_access
    }

    /// How its machines run.
    pub fn acceleration(&self) -> Acceleration {
        self.host.acceleration
    }

    /// Its machines, by name.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// One machine.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn machine(&self, name: &str) -> Result<&Machine, LabError> {
        name.parse().ok().and_then(|name: NodeName| self.machines.get(&name)).ok_or_else(|| {
            LabError::NoSuchMachine {
                machine: name.to_owned(),
                machines: self.machines.keys().map(ToString::to_string).collect(),
            }
        })
    }

    /// All machines as lists show them.
    pub fn status(&self) -> Vec<MachineStatus> {
        self.machines().map(Machine::status).collect()
    }

    /// Switches on every machine that is off.
    ///
    /// # Errors
    /// That of the first machine that does not start.
    pub async fn start(&self) -> Result<(), LabError> {
        for machine in self.machines() {
            machine.power(PowerAction::On).await?;
        }
        Ok(())
    }

    /// Shuts every machine down; one that has not gone off within a minute is switched off.
    ///
    /// # Errors
    /// That of the first machine that does not end.
    pub async fn stop(&self) -> Result<(), LabError> {
        for machine in self.machines() {
            if let Err(error) = machine.power(PowerAction::SoftOff).await {
                tracing::warn!(machine = %machine.name(), error = %error, "power button failed");
            }
        }
        let all_off = async {
            for machine in self.machines() {
                machine.wait_for_power(PowerState::Off).await?;
            }
            Ok::<(), LabError>(())
        };
        if let Ok(result) = timeout(SHUTDOWN_DEADLINE, all_off).await {
            return result;
        }
        for machine in self.machines() {
            machine.power(PowerAction::Off).await?;
        }
        Ok(())
    }

    /// Removes the lab: machines are switched off at once, disks and networks are gone.
    /// Interrupted, it can be done again.
    ///
    /// # Errors
    /// When a machine does not end, or something cannot be removed.
    pub async fn delete(&self) -> Result<(), LabError> {
        for machine in self.machines.values() {
            machine.power(PowerAction::Off).await?;
        }
        self.finish_leaving().await?;
        self.network.remove().await?;
        for name in self.machines.keys() {
            self.files(name).remove()?;
        }
        // Last, since it is what tells that there is a lab to delete.
        std::fs::remove_dir_all(&self.directory).map_err(LabError::file("remove", &self.directory))
    }
}

/// A NIC with an address that is not among those `taken`, where it is then.
fn nic(
    names: &LabNames,
    machine: &NodeName,
    network: &NetworkName,
    taken: &mut BTreeSet<MacAddr>,
) -> NicDefinition {
    let mut attempt = 0;
    loop {
        let mac = names.mac(machine, network, attempt);
        if taken.insert(mac) {
            return NicDefinition { network: network.clone(), mac };
        }
        attempt += 1;
    }
}

/// The disks beyond the first one, with everything that is derived.
fn further_disks(names: &LabNames, machine: &NodeName, disks_gib: &[u32]) -> Vec<DiskDefinition> {
    let disk = |(index, gib): (usize, &u32)| DiskDefinition {
        gib: *gib,
        serial: names.further_disk_serial(machine, index),
    };
    disks_gib.iter().enumerate().skip(1).map(disk).collect()
}

/// The machines of a configuration, with everything that is derived.
pub fn definitions(names: &LabNames, config: &LabConfig) -> Vec<MachineDefinition> {
    let mut taken = BTreeSet::new();
    let machines = config.machines.iter();
    let definition = |machine: &crate::MachineConfig| MachineDefinition {
        profile: machine.profile.clone(),
        firmware: machine.firmware,
        memory_mib: machine.memory_mib,
        cpus: machine.cpus,
        disk_gib: machine.disks_gib.first().copied().unwrap_or_default(),
        disk_serial: names.disk_serial(&machine.name),
        more_disks: further_disks(names, &machine.name, &machine.disks_gib),
        uid: names.uid(&machine.name),
        system_guid: names.system_guid(&machine.name),
        nics: machine
            .networks
            .iter()
            .map(|network| nic(names, &machine.name, network, &mut taken))
            .collect(),
        name: machine.name.clone(),
        kind: machine.kind.unwrap_or_default(),
        driver: machine.driver,
        boot_interface: machine.boot_interface,
    };
    machines.map(definition).collect()
}

fn need_root() -> Result<(), LabError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(LabError::NotRoot) }
}

fn read(directory: &Utf8Path) -> Result<Option<Definition>, LabError> {
    let path = directory.join("lab.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| LabError::Damaged { path, source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LabError::file("read", path)(error)),
    }
}

fn write(directory: &Utf8Path, definition: &Definition) -> Result<(), LabError> {
    write_json(&directory.join("lab.json"), definition, 0o600)
}

/// What differs first, in words; nothing when both are the same lab.
fn difference(existing: &Definition, wanted: &Definition) -> Option<String> {
    for machine in wanted.machines.iter().filter(|m| !existing.shrunk.contains(&m.name)) {
        match existing.machines.iter().find(|known| known.name == machine.name) {
            None => return Some(format!("machine {} is new", machine.name)),
            Some(known) if described(known) != described(machine) => {
                return Some(format!("machine {} is not as it was made", machine.name));
            }
            Some(_) => {}
        }
    }
    let gone = |known: &&MachineDefinition| {
        !existing.grown.contains(&known.name)
            && !wanted.machines.iter().any(|machine| machine.name == known.name)
    };
    if let Some(machine) = existing.machines.iter().find(gone) {
        return Some(format!("machine {} is missing", machine.name));
    }
    (existing.networks != wanted.networks).then(|| "its networks".to_owned())
}

/// A machine as `lab.toml` says it, without what is derived from where its lab is: a copied lab keeps
/// what its machines see of that.
fn described(machine: &MachineDefinition) -> MachineDefinition {
    let mut plain = machine.clone();
    plain.disk_serial.clear();
    plain.more_disks.iter_mut().for_each(|disk| disk.serial.clear());
    plain.nics.iter_mut().for_each(|nic| nic.mac = MacAddr::from_bytes([0; 6]));
    MachineDefinition { uid: 0, system_guid: uuid::Uuid::nil(), ..plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        let config: LabConfig = text.parse().unwrap();
        let names = LabNames::from_real_path(Utf8Path::new("/state"));
        Definition::of(&names, &config)
    }

    #[test]
    fn a_difference_is_named() {
        let text = crate::config::DEFAULT;
        let made = definition(text);
        assert_eq!(difference(&made, &definition(text)), None);
        let elsewhere = LabNames::from_real_path(Utf8Path::new("/elsewhere"));
        let copied = Definition::of(&elsewhere, &text.parse().unwrap());
        assert_eq!(difference(&made, &copied), None, "a copy is the lab of its file");
        for (from, to, words) in [
            ("memory_mib = 4096", "memory_mib = 4097", "compute-0 is not as it was made"),
            ("compute-0", "compute-1", "compute-1 is new"),
            ("10.0.0.0/24", "10.0.1.0/24", "networks"),
        ] {
            let difference = difference(&made, &definition(&text.replace(from, to))).unwrap();
            assert!(difference.contains(words), "{difference}");
        }
    }

    #[test]
    fn every_nic_has_an_address_of_its_own() {
        let machines = definition(crate::config::DEFAULT).machines;
        let macs: Vec<_> = machines.iter().flat_map(|m| &m.nics).map(|nic| nic.mac).collect();
        let different: std::collections::BTreeSet<_> = macs.iter().collect();
        assert_eq!((macs.len(), different.len()), (6, 6));
        // Two in one network, for a bond.
        let networks = "networks = [\"provisioning\", \"internal\", \"external\"]";
        let twice = "networks = [\"provisioning\", \"internal\", \"internal\"]";
        let text = crate::config::DEFAULT.replace(networks, twice);
        let machines = definition(&text).machines;
        let macs: Vec<_> = machines.iter().flat_map(|m| &m.nics).map(|nic| nic.mac).collect();
        let different: std::collections::BTreeSet<_> = macs.iter().collect();
        assert_eq!((macs.len(), different.len()), (6, 6));
    }
}
