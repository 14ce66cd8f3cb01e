//! `cloud.toml`: which machines make the cloud, and its networks.

mod check;
mod network;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::Ipv4Net;
use serde::Deserialize;
use undercloud_model::{MacAddr, NodeName, agent::link::VlanId};

use self::network::Networks;
use crate::toml_fault::{self, TomlFault};

pub(crate) use check::is_host;
pub(crate) use network::USUAL_MTU;
pub use network::{
    Addressing, CardPattern, FloatingRange, InternalNetwork, LinkTemplate, OtherNetwork,
    PublicNetwork,
};

const SHIPPED: &str = include_str!("../../../cloud.toml");

/// A cloud as a person wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudConfig {
    /// Its name.
    pub name: String,
    /// The region of its endpoints.
    pub region: String,
    /// Cost of checking a password.
    pub password_hash_rounds: u8,
    /// What it has beside what every cloud has: files of `features/`.
    pub features: Vec<String>,
    /// Its machines, in the file's order.
    pub machines: Vec<MachineConfig>,
    /// The network between the machines.
    pub internal: InternalNetwork,
    /// The network that users come from.
    pub public: PublicNetwork,
    /// Other networks, by name.
    pub others: BTreeMap<String, OtherNetwork>,
    /// Which cards and bonds carry them, where that is not known otherwise.
    pub links: Vec<LinkTemplate>,
    /// The network whose gateway leads everywhere else from the machines in it.
    pub default_route: Option<String>,
    /// Whom the machines ask for names.
    pub dns_servers: Vec<IpAddr>,
    /// Whom the machines have the time from, before the daemon.
    pub ntp_servers: Vec<String>,
}

/// A machine of the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// Its name, as it was enrolled.
    pub name: NodeName,
    /// What it is for: a file of `roles/`.
    pub role: String,
    /// Its address on the internal network; without, one is chosen.
    pub internal_address: Option<Ipv4Addr>,
    /// Its address on the public network; without, one is chosen where its role has one.
    pub public_address: Option<Ipv4Addr>,
    /// Its addresses on others, by network.
    #[serde(default)]
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Its links, where they are not known otherwise.
    #[serde(default)]
    pub nics: MachineNics,
}

impl MachineConfig {
    /// The addresses that are said: the key, the network's name and the address.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&'static str, &str, Ipv4Addr)> {
        let fixed = [
            ("internal_address", "internal", self.internal_address),
            ("public_address", "public", self.public_address),
        ];
        let fixed = fixed.into_iter().filter_map(|(key, name, said)| Some((key, name, said?)));
        let others = self.addresses.iter().map(|(name, said)| ("addresses", name.as_str(), *said));
        fixed.chain(others)
    }
}

impl MachineNics {
    /// The card for the network of this name.
    pub(crate) fn of(&self, network: &str) -> Option<MacAddr> {
        match network {
            "internal" => self.internal,
            "public" => self.public,
            _ => None,
        }
    }
}

/// Links by network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineNics {
    /// The link to the internal network.
    pub internal: Option<MacAddr>,
    /// The link to the public network.
    pub public: Option<MacAddr>,
}

/// What can be wrong with a `cloud.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the sentence above them")]
pub enum ConfigError {
    /// It is no TOML, has an unknown key, or a value of another kind.
    #[error("{0}")]
    Toml(TomlFault),
    /// A name with letters that it cannot have.
    #[error("`{key}`: `{text}` is not usable there: write {rule}")]
    Text { key: &'static str, text: String, rule: &'static str },
    /// A number out of its bounds.
    #[error("`{key}`: {value} is not possible: write a number from {min} to {max}")]
    Number { key: String, value: u16, min: u16, max: u16 },
    /// An address that is no host's in its network.
    #[error("`{key}`: {address} is not the address of a host in {cidr}: choose another")]
    Address { key: String, address: Ipv4Addr, cidr: Ipv4Net },
    /// Two networks overlap.
    #[error(
        "`network.{name}.cidr` {cidr} and `network.{other}.cidr` {with} overlap: choose another"
    )]
    Overlap { name: String, cidr: Ipv4Net, other: String, with: Ipv4Net },
    /// Two networks have one VLAN.
    #[error("`network.{name}.vlan` and `network.{other}.vlan` are both {vlan}: choose another")]
    OneVlan { name: String, other: String, vlan: VlanId },
    /// A network that there is not.
    #[error(
        "`{key}`: there is no network `{name}`: add [network.{name}], or name one of {known}{hint}"
    )]
    NoNetwork { key: String, name: String, hint: String, known: String },
    /// A purpose that a network cannot have, or that another has.
    #[error("`network.{name}.purposes`: `{purpose}` {why}")]
    Purpose { name: String, purpose: String, why: String },
    /// A network without a router cannot lead anywhere.
    #[error("`default_route`: network.{name} has no `gateway`: add it")]
    NoGateway { name: String },
    /// A link that cannot be made.
    #[error("[[link]] {number} ({networks}): {problem}")]
    Link { number: usize, networks: String, problem: String },
    /// The range ends before it starts.
    #[error("`network.public.floating` ends at {end}, before it starts at {start}: swap them")]
    Floating { start: Ipv4Addr, end: Ipv4Addr },
    /// Two things have one address.
    #[error("{address} is `{key}` and something else too: choose another")]
    Taken { key: String, address: Ipv4Addr },
    /// A machine is there twice, or has the public name.
    #[error("the name `{0}` is there twice: each machine, and the public host, has its own")]
    TwoMachines(String),
    /// There is nothing to install.
    #[error("there is no machine: add a [[machine]] with `name` and `role`")]
    NoMachine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default = "name")]
    name: String,
    #[serde(default = "region")]
    region: String,
    #[serde(default = "hash_rounds")]
    password_hash_rounds: u8,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    machine: Vec<MachineConfig>,
    network: Networks,
    #[serde(default)]
    link: Vec<LinkTemplate>,
    default_route: Option<String>,
    #[serde(default)]
    dns_servers: Vec<IpAddr>,
    #[serde(default)]
    ntp_servers: Vec<String>,
}

fn name() -> String {
    "overcloud".to_owned()
}

fn region() -> String {
    "RegionOne".to_owned()
}

const fn hash_rounds() -> u8 {
    12
}

impl FromStr for CloudConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw: Raw = toml_fault::parse(text).map_err(ConfigError::Toml)?;
        let config = Self {
            name: raw.name,
            region: raw.region,
            password_hash_rounds: raw.password_hash_rounds,
            features: raw.features,
            machines: raw.machine,
            internal: raw.network.internal,
            public: raw.network.public,
            others: raw.network.others,
            links: raw.link,
            default_route: raw.default_route,
            dns_servers: raw.dns_servers,
            ntp_servers: raw.ntp_servers,
        };
        check::check(&config)?;
        Ok(config)
    }
}

impl CloudConfig {
    /// The text of the `cloud.toml` that this program came with: the lab's.
    pub fn shipped_text() -> &'static str {
        SHIPPED
    }

    /// Its networks by name, with what all have: the two of every cloud first.
    pub fn networks(&self) -> impl Iterator<Item = (&str, Addressing)> {
        let InternalNetwork { cidr, first_address, mtu, vlan, gateway } = self.internal;
        let internal = Addressing { cidr, first_address, mtu, vlan, gateway };
        let PublicNetwork { cidr, first_address, gateway, mtu, vlan, .. } = self.public;
        let public = Addressing { cidr, first_address, mtu, vlan, gateway: Some(gateway) };
        let others = self.others.iter().map(|(name, network)| {
            let OtherNetwork { cidr, first_address, mtu, vlan, gateway, .. } = *network;
            (name.as_str(), Addressing { cidr, first_address, mtu, vlan, gateway })
        });
        [("internal", internal), ("public", public)].into_iter().chain(others)
    }

    /// The network of this name.
    pub fn network(&self, name: &str) -> Option<Addressing> {
        self.networks().find(|(other, _)| *other == name).map(|(_, network)| network)
    }

    /// The name of the network that has the purpose, beside the two of every cloud.
    pub fn network_for(&self, purpose: crate::definition::Network) -> Option<&str> {
        let has = |network: &&OtherNetwork| network.purposes.contains(&purpose);
        self.others.iter().find(|(_, network)| has(network)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests;
