//! What is known about machines and images when a plan is made.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use undercloud_model::{
    MacAddr, NodeId, NodeName,
    agent::cloud::{ImagePull, ImageStore},
    consent::DiskPlan,
    inventory::Datapath,
};

/// What is known when a plan is made.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The machines that are enrolled.
    pub machines: BTreeMap<NodeName, MachineFacts>,
    /// The machines' processors are emulated: all takes many times as long.
    pub emulated: bool,
    /// All container images as one storage, if that was made.
    pub image_store: Option<ImageStore>,
}

/// What is known of a machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    /// Its id.
    pub node: NodeId,
    /// Its links to the cloud's networks, by the networks' names. `cloud.toml` may say others.
    pub nics: BTreeMap<String, MacAddr>,
    /// All its network cards, as inspection saw them.
    pub cards: Vec<Card>,
    /// The card that it boots from: the provisioning network's.
    pub boot_card: Option<MacAddr>,
    /// Its logical processors, if they are known.
    pub cpus: Option<u32>,
    /// Its memory, if it is known.
    pub memory_mib: Option<u64>,
    /// The disk that it is or will be installed on, if it is known.
    pub disk: Option<Disk>,
    /// Every disk of it, with what is on it and what would happen to it; nothing before it was
    /// inspected.
    pub disks: Vec<DiskPlan>,
    /// Why no disk can be chosen, if so.
    pub no_disk: Option<String>,
    /// It is installed and its agent answers: nothing has to be erased.
    pub active: bool,
    /// Where its switch can forward packets.
    pub datapath: Datapath,
    /// Its address on the provisioning network.
    pub provisioning_address: Option<Ipv4Addr>,
    /// The addresses that an earlier plan gave it. It keeps them, whatever machines come and go,
    /// unless `cloud.toml` says others.
    pub addresses: Option<MachineAddresses>,
}

/// The most processes of one service: together they must not want more connections than the
/// database gives.
const WORKERS_MAX: u64 = 8;
/// Of a machine's processors and memory, what one more process of every service is worth.
const CPUS_A_WORKER: u64 = 2;
const MEMORY_MIB_A_WORKER: u64 = 8192;

impl MachineFacts {
    /// How many processes a service of requests has here: as many as both processors and memory
    /// allow, and one where either is not known.
    pub(super) fn workers(&self) -> u64 {
        let by_cpus = self.cpus.map_or(0, |cpus| u64::from(cpus) / CPUS_A_WORKER);
        let by_memory = self.memory_mib.map_or(0, |mib| mib / MEMORY_MIB_A_WORKER);
        by_cpus.min(by_memory).clamp(1, WORKERS_MAX)
    }
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name on the machine.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.mac)
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name on the machine.
    pub name: String,
    /// Its serial.
    pub serial: Option<String>,
    /// Its size.
    pub size_bytes: u64,
}

/// A machine's addresses in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineAddresses {
    /// Between the machines.
    pub internal: Ipv4Addr,
    /// Where users come from, if its role has one.
    pub public: Option<Ipv4Addr>,
    /// On other networks, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, Ipv4Addr>,
}

impl MachineAddresses {
    /// The address on the network of this name.
    pub fn on(&self, network: &str) -> Option<Ipv4Addr> {
        match network {
            "internal" => Some(self.internal),
            "public" => self.public,
            other => self.others.get(other).copied(),
        }
    }
}

/// The container images that there are, by name.
pub type Images = BTreeMap<String, ImagePull>;
