//! The networks of a cloud and the links that carry them, as `cloud.toml` says them.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use undercloud_model::{
    MacAddr, NodeName,
    agent::link::{BondMode, LinkName, VlanId},
};

use crate::definition::Network;

/// What a link carries where nothing else is said.
pub(crate) const USUAL_MTU: u16 = 1500;

const fn mtu() -> u16 {
    USUAL_MTU
}

/// The network between the machines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalNetwork {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The first that a machine gets.
    pub first_address: Ipv4Addr,
    /// The largest packet, in bytes.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Its VLAN on the machines' links; without, its packets are untagged.
    pub vlan: Option<VlanId>,
    /// The router out of it, if there is one.
    pub gateway: Option<Ipv4Addr>,
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
    /// The largest packet, in bytes.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Its VLAN on the machines' links; without, its packets are untagged.
    pub vlan: Option<VlanId>,
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

/// A network beside the two that every cloud has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherNetwork {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The first that a machine gets.
    pub first_address: Ipv4Addr,
    /// The largest packet, in bytes.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Its VLAN on the machines' links; without, its packets are untagged.
    pub vlan: Option<VlanId>,
    /// The router out of it, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// What goes over it that would go over the internal one.
    #[serde(default)]
    pub purposes: Vec<Network>,
    /// The roles whose machines are in it; without, all are.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// What all networks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressing {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The first that a machine gets.
    pub first_address: Ipv4Addr,
    /// The largest packet, in bytes.
    pub mtu: u16,
    /// Its VLAN on the machines' links.
    pub vlan: Option<VlanId>,
    /// The router out of it.
    pub gateway: Option<Ipv4Addr>,
}

/// `[network.NAME]`: two that every cloud has, and any others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Networks {
    pub(super) internal: InternalNetwork,
    pub(super) public: PublicNetwork,
    pub(super) others: BTreeMap<String, OtherNetwork>,
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;
        impl<'de> Visitor<'de> for Tables {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of networks")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Networks, A::Error> {
                let (mut internal, mut public, mut others) = (None, None, BTreeMap::new());
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "internal" => internal = Some(map.next_value()?),
                        "public" => public = Some(map.next_value()?),
                        _ => drop(others.insert(name, map.next_value()?)),
                    }
                }
                let missing = A::Error::missing_field;
                Ok(Networks {
                    internal: internal.ok_or_else(|| missing("internal"))?,
                    public: public.ok_or_else(|| missing("public"))?,
                    others,
                })
            }
        }
        deserializer.deserialize_map(Tables)
    }
}

/// `[[link]]`: a card or a bond of cards, and the networks that it carries, on machines that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkTemplate {
    /// The roles whose machines have it.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The machines that have it, beside those; without both, all have it.
    #[serde(default)]
    pub machines: Vec<NodeName>,
    /// The bond's name, if it is one.
    pub bond: Option<LinkName>,
    /// How the bond spreads packets; without, one card carries all and another when that fails.
    pub mode: Option<BondMode>,
    /// The card, or the bond's cards.
    pub cards: Vec<CardPattern>,
    /// What it carries: those with a `vlan` tagged, one without untagged.
    pub networks: Vec<String>,
}

/// Which card is meant: by its address, or by its name, in which `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardPattern {
    /// The card with this address.
    Mac(MacAddr),
    /// Cards whose names are like this.
    Name(String),
}

/// As long as an interface's name can be (`IFNAMSIZ`).
const PATTERN_CHARS_MAX: usize = 15;

impl<'de> Deserialize<'de> for CardPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(mac) = text.parse() {
            return Ok(Self::Mac(mac));
        }
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
        if (1..=PATTERN_CHARS_MAX).contains(&text.len()) && text.bytes().all(good) {
            return Ok(Self::Name(text));
        }
        let text: String = text.chars().take(40).collect();
        let rule = "write its MAC address, or its name with * for what differs";
        Err(D::Error::custom(format!("`{text}` names no network card: {rule}")))
    }
}

impl CardPattern {
    /// Whether a card is meant.
    pub fn matches(&self, name: &str, mac: MacAddr) -> bool {
        match self {
            Self::Mac(wanted) => *wanted == mac,
            Self::Name(pattern) => is_like(name, pattern),
        }
    }
}

impl fmt::Display for CardPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Whether `text` is `pattern` with something for each `*`.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return text == pattern };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_like(rest, tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (text, pattern) in
            [("ens4", "ens4"), ("enp1s0f0", "enp*s0f*"), ("ens4", "*"), ("ens4", "ens4*")]
        {
            assert!(is_like(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("ens4", "ens"), ("enp1s0f0np0", "enp*s0f?"), ("ens4", "s*")] {
            assert!(!is_like(text, pattern), "{text} {pattern}");
        }
    }
}
