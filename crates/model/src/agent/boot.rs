//! How an agent learns who it is.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{MacAddr, NodeId, NodeName, Secret, UnixMillis, expose_on_the_wire};

/// Where the ramdisk's first segment holds a [`BootIdentity`]. It is made for one boot of one node
/// and travels in the initrd, not on the kernel's command line, which consoles log.
pub const IDENTITY_PATH: &str = "/etc/undercloud/boot.json";

/// Where the installed system holds an [`InstalledIdentity`], mode 0600.
pub const INSTALLED_IDENTITY_PATH: &str = "/etc/undercloud/agent.json";

/// Where the config drive holds an [`InstalledIdentity`], beside `openstack/latest`.
pub const DRIVE_IDENTITY_PATH: &str = "undercloud/agent.json";

/// What the ramdisk needs to call home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootIdentity {
    /// [`super::PROTOCOL_VERSION`] of the daemon.
    pub protocol: u32,
    /// Base URL of the agents' listener: `https://192.168.24.1:8443`. An address, not a name:
    /// a static program has no resolver.
    pub api: String,
    /// The node that this machine is.
    pub node: NodeId,
    /// Accepted once, within the window that our power-on opened.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub secret: Secret,
    /// The daemon's CA, PEM. Nothing else is trusted.
    pub ca_pem: String,
    /// How to reach the daemon.
    pub network: BootNetwork,
    /// The daemon's time when the machine fetched this: the ramdisk sets its clock by it, so that
    /// a wrong hardware clock cannot break TLS.
    pub now_ms: UnixMillis,
}

/// The address to use while in the ramdisk: the one that DHCP gave to the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootNetwork {
    /// The interface to use.
    pub mac: MacAddr,
    /// Its address and prefix.
    pub address: Ipv4Net,
    /// Router, where the daemon is behind one.
    pub gateway: Option<Ipv4Addr>,
}

/// First request of a ramdisk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::PROTOCOL_VERSION`] of the agent.
    pub protocol: u32,
    /// Who it says it is.
    pub node: NodeId,
    /// The secret of this boot.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub secret: Secret,
    /// The kernel's boot id, random and seen by nobody on the network. The same secret with the
    /// same boot id is the same use, repeated because its answer was lost; with another boot id
    /// it is a second use.
    pub boot_id: String,
    /// The agent's own version, for the log.
    pub agent_version: String,
}

/// Answer to a [`Hello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// Bearer key for all further requests of this boot.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub session_key: Secret,
}

/// What the agent in the installed system needs to call home: written to the config drive at
/// deployment and kept in a 0600 file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstalledIdentity {
    /// [`super::PROTOCOL_VERSION`] of the daemon that wrote this.
    pub protocol: u32,
    /// Base URL of the agents' listener.
    pub api: String,
    /// The node that this machine is.
    pub node: NodeId,
    /// Its name, for messages.
    pub name: NodeName,
    /// Bearer key of this machine, until it is deployed anew.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub key: Secret,
    /// The daemon's CA, PEM.
    pub ca_pem: String,
}
