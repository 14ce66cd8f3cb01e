//! What the agent of an installed machine can be told to do for the cloud.
//!
//! Each step is *check → apply → verify*: it looks whether the machine is already as described,
//! changes what is not, and looks again. Doing it twice is the same as doing it once. Fields that
//! may hold a secret have the type [`Secret`]; in a stored plan they hold references in its place
//! (`undercloud-cloud` puts the values in when a step is handed over).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::link::{Bond, LinkMtu, LinkRef, Vlan};
pub use super::service_name::ServiceName;
use crate::{Digest, MacAddr, Secret, expose_on_the_wire};

/// A step of the cloud's installation on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CloudStep {
    /// The agent itself, before anything else: in the daemon's build.
    UpdateAgent {
        /// That build. Put in when the step is given to the agent: a plan outlives builds, and has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<AgentProgram>,
    },
    /// Addresses on the machine's links, names of the cloud's machines, the machine's firewall.
    Network(NetworkSetup),
    /// Every container image of the cloud at once, as a read-only storage.
    MountImages(ImageStore),
    /// A container image, by digest, from the registry, unless the machine has it.
    PullImage(ImagePull),
    /// A service: its files, directories, modules and unit; running, and restarted when something
    /// of it changed.
    ApplyService(ServiceSetup),
    /// Waits until a service is healthy.
    AwaitHealth(HealthCheck),
    /// A command of a service's bootstrap, inside its container, once in the cloud's life.
    RunOnce(RunOnce),
    /// Users, roles, services and endpoints in Keystone.
    EnsureIdentity(IdentitySetup),
    /// Services that the machine's role no longer has are stopped and their units removed.
    RetireServices {
        /// Those that stay.
        keep: Vec<ServiceName>,
    },
}

/// The most bytes that the agent's program may have. A build for people who look for faults has a
/// tenth of them.
pub const PROGRAM_BYTES_MAX: u64 = 1 << 30;

/// The agent's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProgram {
    /// The blob to fetch from `/agent/v1/blobs/{digest}`.
    pub blob: Digest,
    /// Its length, at most [`PROGRAM_BYTES_MAX`].
    pub bytes: u64,
}

/// Links, names and firewall of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSetup {
    /// Bonds of cards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bonds: Vec<Bond>,
    /// VLANs on cards or bonds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<Vlan>,
    /// The largest packets, in bytes, of links where that was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mtus: Vec<LinkMtu>,
    /// Links that get an address.
    pub links: Vec<LinkAddress>,
    /// A bridge that the switch makes and that gets the public address; its link has none.
    pub bridge: Option<BridgeAddress>,
    /// Where the switch's tunnels begin, if it forwards outside of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelAddress>,
    /// Host names for `/etc/hosts`: the machines of the cloud and the public name.
    pub hosts: Vec<HostEntry>,
    /// Name servers for `/etc/resolv.conf`; none leaves what the first boot wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<IpAddr>,
    /// Whom the machine has its time from; none leaves the daemon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub time_servers: Vec<String>,
    /// What may come in. Everything else is dropped, except answers, ICMP echo, and ssh and
    /// DHCP answers on the provisioning network.
    pub firewall: Firewall,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddress {
    /// The link. It was a card and nothing else once, hence the old name.
    #[serde(alias = "mac")]
    pub link: LinkRef,
    /// Its address with prefix.
    pub address: Ipv4Net,
    /// The router in this network that leads everywhere else, if this is the link for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
}

/// The public address, on a bridge that carries the provider network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeAddress {
    /// The bridge's name: `br-ex`.
    pub name: String,
    /// The link that the bridge takes as its port.
    #[serde(alias = "mac")]
    pub link: LinkRef,
    /// The bridge's address with prefix.
    pub address: Ipv4Net,
    /// The router in this network that leads everywhere else, if this is the link for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
}

/// A second card on a link, for a bridge that the switch makes: tunnels of a switch that forwards
/// outside of the kernel leave by a bridge of its own only, and the link keeps its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelAddress {
    /// The link below.
    pub below: LinkRef,
    /// The name of the card on it.
    pub name: String,
    /// That card's address, and the bridge's.
    pub mac: MacAddr,
    /// The bridge's name.
    pub bridge: String,
    /// The bridge's address with prefix.
    pub address: Ipv4Net,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}

/// What a machine lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Each is a hole.
    pub allow: Vec<FirewallHole>,
}

/// Connections to one port that may come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirewallHole {
    /// Where they come to: an address of this machine.
    pub to: Ipv4Addr,
    /// Where they may come from.
    pub from: Option<Ipv4Net>,
    /// The protocol.
    pub protocol: PortProtocol,
    /// The port, or the first of a range.
    pub port: u16,
    /// The last port of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_port: Option<u16>,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// Podman's storage with every image of the cloud, as a squashfs: it is mounted, not unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStore {
    /// The blob to fetch from `/agent/v1/blobs/{digest}`.
    pub blob: Digest,
    /// Its length.
    pub bytes: u64,
}

/// A container image to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePull {
    /// Its repository in our registry, which is where the daemon is: `keystone`.
    pub name: String,
    /// Its manifest, for the registry.
    pub digest: Digest,
    /// Its config: the image's id in every storage, wherever it came from.
    pub id: Digest,
    /// Bytes of its layers as they are transferred, for the progress.
    pub bytes: u64,
}

/// A service on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSetup {
    /// Its name.
    pub name: ServiceName,
    /// One line for people; the unit's description.
    pub summary: String,
    /// The image, which was pulled before.
    pub image: ImagePull,
    /// Program and arguments. No secret may be in it: other processes see it.
    pub command: Vec<String>,
    /// Number of the account in the container.
    pub uid: u32,
    /// Variables. No secret may be in it.
    pub environment: BTreeMap<String, String>,
    /// Services of this machine whose units start before.
    pub after: Vec<ServiceName>,
    /// What answers before it starts, when the machine does: URLs of services that people ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields_to: Vec<String>,
    /// Kernel modules that it needs.
    pub modules: Vec<String>,
    /// Devices of the machine that it uses: `/dev/net/tun`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// What it may do beyond an ordinary process.
    pub privileges: Privileges,
    /// What ends when it is stopped.
    pub stop: StopMode,
    /// Its files.
    pub files: Vec<ServiceFile>,
    /// Its directories.
    pub volumes: Vec<Volume>,
    /// Files that it finds in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Seed>,
}

/// A file that the service owns from its first start on: written where there is none, or an empty
/// one, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Where it is on the machine, in one of the service's directories.
    pub host: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// What is in it. No secret may be.
    pub content: String,
}

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privileges {
    /// Capabilities without `CAP_`; all others are dropped. Without the list it has none, if its
    /// account is not root, and podman's default ones if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Everything that the machine's root may.
    #[serde(default)]
    pub privileged: bool,
    /// Sees the machine's processes.
    #[serde(default)]
    pub host_pid: bool,
}

/// What ends when a service is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Every process of the unit.
    #[default]
    All,
    /// The container's first process only: its children outlive it.
    Main,
}

/// A file of a service, kept on the machine below `/etc/undercloud/services/NAME` and seen by the
/// container at `path`, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFile {
    /// Where the container sees it.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its text.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub content: Secret,
}

/// A directory of the machine inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// On the machine.
    pub host: String,
    /// In the container.
    pub path: String,
    /// Its permissions, where it is made.
    pub mode: u32,
    /// Its owner's number, where it is made.
    pub uid: u32,
    /// Mounts made on one side are seen on the other.
    pub shared: bool,
    /// It is the machine's: never made, never changed.
    pub existing: bool,
}

/// How to see that a service is healthy, and for how long to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The service; it may be of another machine where [`Probe::Listed`] asks an API for it.
    pub service: ServiceName,
    /// What to look at.
    pub probe: Probe,
    /// The longest wait, in seconds.
    pub timeout_s: u32,
    /// The service was started anew in this run: what it reported before does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}

/// One look at a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Its unit is active.
    Unit,
    /// A GET is answered with 2xx.
    Http(String),
    /// A connection to `HOST:PORT` is accepted.
    Tcp(String),
    /// A unix socket at this path on the machine accepts a connection.
    Unix(String),
    /// An OpenStack API lists a row with these values.
    Listed(Box<ListedProbe>),
}

/// A row of an OpenStack API's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedProbe {
    /// Who asks.
    pub access: IdentityAccess,
    /// The API's type in the catalogue: `compute`.
    pub api: String,
    /// Below the API's URL: `/os-services`.
    pub path: String,
    /// The list in the answer: `services`.
    pub list: String,
    /// Which row.
    #[serde(rename = "where")]
    pub matching: BTreeMap<String, serde_json::Value>,
    /// What must be in it.
    pub equal: BTreeMap<String, serde_json::Value>,
    /// Where the API says when the service reported last, if it does: the row above may say for
    /// minutes what was true before the service was started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportRow>,
}

/// A row of an OpenStack API's list with the time of a service's last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRow {
    /// Below the API's URL: `/os-services`.
    pub path: String,
    /// The list in the answer: `services`.
    pub list: String,
    /// Which row.
    #[serde(rename = "where")]
    pub matching: BTreeMap<String, serde_json::Value>,
    /// What changes with each report: `updated_at`.
    pub field: String,
}

/// Who talks to Keystone, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityAccess {
    /// `http://172.17.0.10:5000/v3`, on the internal network.
    pub auth_url: String,
    /// The user, of the domain `Default`.
    pub user: String,
    /// The password.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub password: Secret,
    /// The project, of the domain `Default`.
    pub project: String,
}

/// A bootstrap command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOnce {
    /// In whose container.
    pub service: ServiceName,
    /// Its name: together with the service's it says whether it was run.
    pub name: String,
    /// Program and arguments. No secret may be in it.
    pub command: Vec<String>,
    /// Its variables.
    pub environment: Vec<Variable>,
}

/// A variable that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub value: Secret,
}

/// What must be in Keystone. It is looked up by name and made or mended where it is missing or
/// different, or removed where it is not to be there; nothing else is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentitySetup {
    /// Who does it.
    pub access: IdentityAccess,
    /// The endpoints' region.
    pub region: String,
    /// Users with their roles.
    pub users: Vec<IdentityUser>,
    /// Services with their endpoints.
    pub services: Vec<IdentityService>,
    /// Services that the cloud could have and has not: no client is to look for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<AbsentService>,
}

/// A row of the catalogue that is not to be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AbsentService {
    /// `orchestration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `heat`. Another's row of that type is left alone.
    pub name: String,
}

/// A user of the domain `Default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityUser {
    /// Its name.
    pub name: String,
    /// Its password.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub password: Secret,
    /// The project that it works in.
    pub project: String,
    /// Its roles there.
    pub roles: Vec<String>,
}

/// A row of the catalogue with its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityService {
    /// `compute`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `nova`.
    pub name: String,
    /// The public endpoint.
    pub public: String,
    /// The internal endpoint.
    pub internal: String,
}

/// What a cloud step gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converged {
    /// Whether anything had to be changed.
    pub changed: bool,
    /// What was done or found, in one line: `restarted`.
    pub note: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_is_a_unit_s_and_a_directory_s() {
        for good in ["nova-api", "a", "ovn2"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "../x", "a.b", "2a", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_says_its_kind_once() {
        let step = CloudStep::RetireServices { keep: vec!["glance".parse().unwrap()] };
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(text, r#"{"kind":"retire_services","keep":["glance"]}"#);
        assert_eq!(serde_json::from_str::<CloudStep>(&text).unwrap(), step);
    }
}
