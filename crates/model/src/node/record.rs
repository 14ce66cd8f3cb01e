//! A node as the database keeps it and every decision sees it. Holds no secret: BMC passwords and
//! machine keys have tables of their own.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{FailureKind, Phase, ProvisionState};
use crate::{
    BootMode, MacAddr, NodeId, NodeName, PowerState, RootDeviceHints, UnixMillis,
    agent::{ImageSource, WriteReceipt},
    consent::WipeScope,
    inventory::Inventory,
};

/// A machine that this undercloud manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id, for ever.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Counts the writes to this record; a write that expected another one is refused.
    pub version: i64,
    /// Counts the transitions; part of every action's key.
    pub visit: i64,
    /// How it is driven.
    pub driver: Driver,
    /// Where its BMC answers.
    pub bmc: BmcAddress,
    /// Its interfaces on the provisioning network, the one that it boots from first.
    pub ports: Vec<Port>,
    /// Which firmware it has.
    pub boot_mode: BootMode,
    /// How its ramdisk gets to it.
    pub boot_interface: BootInterface,
    /// What a person said about it.
    pub properties: Properties,
    /// Which disk gets the operating system.
    pub root_device: RootDeviceHints,
    /// Which disks a cleaning that is under way erases.
    #[serde(default)]
    pub wipe: WipeScope,
    /// Ironic's `resource_class`.
    pub resource_class: String,
    /// Whether the boot that is under way is the second try: the first fetched its ramdisk, and no
    /// agent called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub booted_again: bool,
    /// What its agent found at the last inspection.
    pub inventory: Option<Inventory>,
    /// Where it is in its life.
    pub state: ProvisionState,
    /// Where it is going, while it is going.
    pub target: Option<ProvisionState>,
    /// Since when it is in that state.
    pub state_since: UnixMillis,
    /// What inside the state it is at.
    pub phase: Phase,
    /// When the phase has failed.
    pub deadline: Option<UnixMillis>,
    /// Power as it was seen last; nothing while the BMC has not told.
    pub power: Option<PowerState>,
    /// When it was seen.
    pub power_seen_at: Option<UnixMillis>,
    /// Power as it is wanted, while it is being changed.
    pub target_power: Option<PowerState>,
    /// Why nobody should touch it, if so.
    pub maintenance: Option<Maintenance>,
    /// What failed last.
    pub last_error: Option<LastError>,
    /// What is, or will be, installed on it.
    pub instance: Option<Instance>,
    /// When it was enrolled.
    pub created_at: UnixMillis,
    /// When this record was last written.
    pub updated_at: UnixMillis,
}

/// How a node is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// IPMI 2.0 over the network.
    #[default]
    Ipmi,
    /// Redfish.
    Redfish,
    /// Redfish; IPMI for what the BMC does not offer by it.
    RedfishIpmi,
}

impl Driver {
    /// Its name: a `pm_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
            Self::RedfishIpmi => "redfish-ipmi",
        }
    }
}

/// How the ramdisk gets to a machine (Ironic's `boot_interface`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum BootInterface {
    /// From the network: DHCP, TFTP or HTTP, iPXE.
    #[default]
    Ipxe,
    /// As a CD that its BMC shows to it. Neither DHCP nor TFTP has a part in it.
    RedfishVirtualMedia,
}

impl BootInterface {
    /// Ironic's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipxe => "ipxe",
            Self::RedfishVirtualMedia => "redfish-virtual-media",
        }
    }
}

/// Where a BMC answers, and as whom we come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcAddress {
    /// Its address.
    pub address: IpAddr,
    /// IPMI's UDP port; where Redfish is all that is spoken, its TCP port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// Its Redfish, where that is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<RedfishAddress>,
}

/// Where in a BMC's Redfish the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RedfishAddress {
    /// The TCP port.
    pub port: u16,
    /// The path of the machine's system; without it, the only one that the login shows.
    pub system: Option<String>,
    /// Which certificate is good.
    pub verify_ca: VerifyCa,
}

/// Which certificate of a BMC is good (Ironic's `redfish_verify_ca`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum VerifyCa {
    /// One for its address, signed by our CA or by one that this host trusts.
    #[default]
    Trusted,
    /// One for its address, signed by a CA in this PEM file.
    File(String),
    /// The one with this SHA-256, in hexadecimal, whatever else it says.
    Fingerprint(String),
    /// Any. Who listens in between learns the password.
    Any,
}

/// An interface on the provisioning network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its hardware address.
    pub mac: MacAddr,
    /// The address that is its own, from enrolment on.
    pub address: Ipv4Net,
}

/// What a person said about a machine at enrolment (Ironic's `properties`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Properties {
    /// Processors.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Disk in GiB.
    pub local_gb: Option<u64>,
    /// `x86_64`.
    pub cpu_arch: Option<String>,
    /// `profile` → `control` and the like.
    pub capabilities: BTreeMap<String, String>,
}

impl Properties {
    /// The role this machine is meant for: the capability `profile`.
    pub fn profile(&self) -> Option<&str> {
        self.capabilities.get("profile").map(String::as_str)
    }
}

/// Why nobody should touch a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// In the words of who said so.
    pub reason: Option<String>,
}

/// What failed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The one sentence.
    pub text: String,
    /// When.
    pub at: UnixMillis,
}

/// What is, or will be, installed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What was asked for.
    pub request: DeployRequest,
    /// The disk that was written and what is on it; nothing before.
    pub written: Option<WriteReceipt>,
    /// When the installed system called first.
    pub reported_at: Option<UnixMillis>,
}

/// What to install. The image is resolved when the request is taken: what its name means later
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRequest {
    /// The image.
    pub image: InstanceImage,
    /// The host name; the node's own name if none is given.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Public keys for people's ssh, one line each.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// `user_data` of the config drive. Not secret: it can be read in the node's record.
    #[serde(default)]
    pub user_data: Option<String>,
    /// `network_data.json` of the config drive; without it the boot interface keeps the address
    /// that it has on the provisioning network.
    #[serde(default)]
    pub network_data: Option<serde_json::Value>,
}

impl DeployRequest {
    /// The smallest disk that will do, in bytes.
    pub fn need_bytes(&self) -> u64 {
        self.image.min_disk_bytes.max(self.image.source.disk_bytes)
    }
}

/// An image as a deployment needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceImage {
    /// Its name when the request was taken.
    pub name: String,
    /// What to write.
    pub source: ImageSource,
    /// The smallest disk it fits on.
    pub min_disk_bytes: u64,
    /// Whether our agent is inside: then the node is active when it has called.
    pub has_agent: bool,
}

impl Node {
    /// Whether something is under way, so that nothing else can be asked for.
    pub fn is_busy(&self) -> bool {
        !self.state.is_stable() || self.phase != Phase::Idle
    }

    /// Whether disks of it can be erased now if somebody asks for that: a system that is installed
    /// is taken away first.
    pub fn may_be_asked_to_erase(&self) -> bool {
        !self.is_busy() && self.state != ProvisionState::Active
    }

    /// What undeploying it wipes: what was written, and nothing else.
    pub fn wiped_by_undeploy(&self) -> WipeScope {
        let Some(instance) = &self.instance else { return self.wiped_by(&WipeScope::default()) };
        match &instance.written {
            Some(receipt) => WipeScope::These { disks: vec![receipt.disk.clone()] },
            None => self.wiped_by(&WipeScope::Root { need_bytes: instance.request.need_bytes() }),
        }
    }

    /// What a cleaning of `asked` wipes: where what was written is still to be taken away, that.
    pub fn wiped_by(&self, asked: &WipeScope) -> WipeScope {
        match (&self.wipe, asked) {
            (WipeScope::These { .. }, WipeScope::Root { .. }) => self.wipe.clone(),
            _ => asked.clone(),
        }
    }

    /// Whether `request` was written to the disk already: what is left is the restart.
    pub fn has_written(&self, request: &DeployRequest) -> bool {
        self.instance.as_ref().is_some_and(|i| i.written.is_some() && i.request == *request)
    }

    /// The interface it boots from.
    pub fn boot_port(&self) -> Option<&Port> {
        self.ports.first()
    }
}
