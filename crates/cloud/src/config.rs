//! `cloud.toml`: which machines make the cloud, and its two networks.

use std::{collections::BTreeSet, net::Ipv4Addr, str::FromStr};

use ipnet::Ipv4Net;
use serde::Deserialize;
use undercloud_model::{MacAddr, NodeName};

use crate::toml_fault::{self, TomlFault};

const SHIPPED: &str = include_str!("../../../cloud.toml");
/// Keystone's bounds for bcrypt.
const HASH_ROUNDS: std::ops::RangeInclusive<u8> = 4..=16;
const MTU: std::ops::RangeInclusive<u16> = 1280..=9216;

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
    /// Its links, where they are not known otherwise.
    #[serde(default)]
    pub nics: MachineNics,
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

/// The network between the machines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalNetwork {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The first that a machine gets.
    pub first_address: Ipv4Addr,
    /// The largest packet.
    #[serde(default = "mtu")]
    pub mtu: u16,
}

const fn mtu() -> u16 {
    1500
}

/// The network that users come from, and that floating IPs are on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicNetwork {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The first that a machine gets.
    pub first_address: Ipv4Addr,
    /// The router out of it.
    pub gateway: Ipv4Addr,
    /// Addresses for servers.
    pub floating: FloatingRange,
    /// The name in public URLs, which users' machines must resolve; without, URLs hold the address.
    pub host: Option<String>,
}

/// Addresses for servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatingRange {
    /// The first.
    pub start: Ipv4Addr,
    /// The last.
    pub end: Ipv4Addr,
}

impl FloatingRange {
    /// Whether the address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }
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
    Number { key: &'static str, value: u16, min: u16, max: u16 },
    /// An address that is no host's in its network.
    #[error("`{key}`: {address} is not the address of a host in {cidr}: choose another")]
    Address { key: String, address: Ipv4Addr, cidr: Ipv4Net },
    /// The networks overlap.
    #[error("`network.internal.cidr` {0} and `network.public.cidr` {1} overlap: choose another")]
    Overlap(Ipv4Net, Ipv4Net),
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
    network: RawNetworks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetworks {
    internal: InternalNetwork,
    public: PublicNetwork,
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
        };
        config.check_names()?;
        config.check_numbers()?;
        config.check_addresses()?;
        Ok(config)
    }
}

impl CloudConfig {
    /// The text of the `cloud.toml` that this program came with: the lab's.
    pub fn shipped_text() -> &'static str {
        SHIPPED
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let check = |key, text: &str, rule, good: bool| {
            let text = text.chars().take(80).collect();
            if good { Ok(()) } else { Err(ConfigError::Text { key, text, rule }) }
        };
        let label = self.name.parse::<NodeName>().is_ok();
        check("name", &self.name, "lower-case letters, digits and hyphens", label)?;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let region = (1..=64).contains(&self.region.len()) && self.region.bytes().all(word);
        check("region", &self.region, "letters, digits, hyphens and underscores", region)?;
        let host = self.public.host.as_deref();
        let is_name = |host: &str| {
            let labels =
                host.len() <= 253 && host.split('.').all(|l| l.parse::<NodeName>().is_ok());
            labels && host.parse::<Ipv4Addr>().is_err()
        };
        let good = host.is_none_or(is_name);
        let rule = "a host name in lower case";
        check("network.public.host", host.unwrap_or_default(), rule, good)?;
        if self.machines.is_empty() {
            return Err(ConfigError::NoMachine);
        }
        let mut names: BTreeSet<&str> = host.into_iter().collect();
        match self.machines.iter().find(|machine| !names.insert(machine.name.as_str())) {
            Some(machine) => Err(ConfigError::TwoMachines(machine.name.to_string())),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let check = |key, value: u16, min: u16, max: u16| {
            let good = (min..=max).contains(&value);
            if good { Ok(()) } else { Err(ConfigError::Number { key, value, min, max }) }
        };
        let rounds = u16::from(self.password_hash_rounds);
        let (min, max) = (u16::from(*HASH_ROUNDS.start()), u16::from(*HASH_ROUNDS.end()));
        check("password_hash_rounds", rounds, min, max)?;
        check("network.internal.mtu", self.internal.mtu, *MTU.start(), *MTU.end())
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let (internal, public) = (self.internal.cidr, self.public.cidr);
        if internal.contains(&public.network()) || public.contains(&internal.network()) {
            return Err(ConfigError::Overlap(internal, public));
        }
        let PublicNetwork { gateway, floating, first_address, .. } = &self.public;
        host("network.internal.first_address", self.internal.first_address, internal)?;
        host("network.public.first_address", *first_address, public)?;
        host("network.public.gateway", *gateway, public)?;
        host("network.public.floating.start", floating.start, public)?;
        host("network.public.floating.end", floating.end, public)?;
        if floating.end < floating.start {
            return Err(ConfigError::Floating { start: floating.start, end: floating.end });
        }
        let taken = |key: String, address| Err(ConfigError::Taken { key, address });
        if floating.contains(*gateway) {
            return taken("network.public.gateway".to_owned(), *gateway);
        }
        let mut seen = BTreeSet::from([*gateway]);
        for machine in &self.machines {
            let of = |key| format!("{key} of {}", machine.name);
            if let Some(address) = machine.internal_address {
                host(&of("internal_address"), address, internal)?;
                if !seen.insert(address) {
                    return taken(of("internal_address"), address);
                }
            }
            if let Some(address) = machine.public_address {
                host(&of("public_address"), address, public)?;
                if floating.contains(address) || !seen.insert(address) {
                    return taken(of("public_address"), address);
                }
            }
        }
        Ok(())
    }
}

fn host(key: &str, address: Ipv4Addr, cidr: Ipv4Net) -> Result<(), ConfigError> {
    if is_host(address, cidr) {
        return Ok(());
    }
    Err(ConfigError::Address { key: key.to_owned(), address, cidr })
}

/// Whether a machine can have the address.
pub(crate) fn is_host(address: Ipv4Addr, cidr: Ipv4Net) -> bool {
    cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast()
}

#[cfg(test)]
mod tests;
