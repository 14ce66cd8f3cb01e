//! `openstack/latest/network_data.json`: the links, networks and services of this machine (Nova's
//! specification "metadata-service-network-info").
//!
//! Everything that goes into a configuration file is parsed into a type first: there is no text of
//! this file in what is written.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use undercloud_model::MacAddr;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetworkData {
    /// Interfaces.
    pub links: Vec<Link>,
    /// Addresses on them.
    pub networks: Vec<Network>,
    /// Name servers.
    pub services: Vec<Service>,
}

/// An interface.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// Its name in this file.
    pub id: String,
    /// `phy` and what Nova calls its virtual interfaces, or `vlan`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The interface's address; of a VLAN, the one it gets.
    #[serde(alias = "vlan_mac_address")]
    pub ethernet_mac_address: Option<String>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// The VLAN's number.
    pub vlan_id: Option<u16>,
    /// The link that carries the VLAN.
    pub vlan_link: Option<String>,
}

/// An address, or how to get one.
#[derive(Debug, Clone, Deserialize)]
pub struct Network {
    /// The link that it is on.
    pub link: String,
    /// `ipv4`, `ipv6`, `ipv4_dhcp`, `ipv6_dhcp`, `ipv6_slaac`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address, with or without its prefix.
    pub ip_address: Option<String>,
    /// The mask, where the address has no prefix.
    pub netmask: Option<String>,
    /// Routes over it.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Name servers there (a newer place than `services`).
    #[serde(default)]
    pub dns_nameservers: Vec<String>,
    /// Name servers there (Nova's place).
    #[serde(default)]
    pub services: Vec<Service>,
}

/// A route.
#[derive(Debug, Clone, Deserialize)]
pub struct Route {
    /// Where to.
    pub network: String,
    /// With which mask.
    pub netmask: Option<String>,
    /// Over whom.
    pub gateway: String,
}

/// A service; only `dns` is known.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is.
    pub address: Option<String>,
}

/// What cannot be made of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkDataError {
    /// A link of a kind that this agent does not make.
    #[error("link {link} is of type `{kind}`; only phy and vlan can be made")]
    Kind {
        /// Which.
        link: usize,
        /// Its type.
        kind: String,
    },
    /// A network of a kind that this agent does not know.
    #[error("network {network} is of type `{kind}`, which is not known")]
    NetworkKind {
        /// Which.
        network: usize,
        /// Its type.
        kind: String,
    },
    /// A value that is none.
    #[error("{what} {index}: `{value}` is no {wanted}")]
    Value {
        /// In which list.
        what: &'static str,
        /// Which entry.
        index: usize,
        /// What is there.
        value: String,
        /// What should be.
        wanted: &'static str,
    },
    /// A network or VLAN on a link that is not there.
    #[error("{what} {index} is on a link that is not in the file")]
    Link {
        /// In which list.
        what: &'static str,
        /// Which entry.
        index: usize,
    },
}

/// Makes the error for entry `index` of the list `what`.
pub(super) fn wrong(
    what: &'static str,
    index: usize,
    value: &str,
    wanted: &'static str,
) -> NetworkDataError {
    NetworkDataError::Value { what, index, value: crate::log::one_line(value), wanted }
}

impl NetworkData {
    /// All name servers, each once.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let of = |services: &[Service]| -> Vec<String> {
            let dns = services.iter().filter(|s| s.kind == "dns");
            dns.filter_map(|s| s.address.clone()).collect()
        };
        let networks = self.networks.iter();
        let there = networks.flat_map(|n| [n.dns_nameservers.clone(), of(&n.services)]).flatten();
        let mut found: Vec<IpAddr> = Vec::new();
        for address in of(&self.services).into_iter().chain(there) {
            match address.parse() {
                Ok(address) if !found.contains(&address) => found.push(address),
                _ => {}
            }
        }
        found
    }
}

impl Link {
    /// The address of the interface, or of the VLAN on it.
    pub(super) fn mac(&self, index: usize) -> Result<MacAddr, NetworkDataError> {
        let text = self.ethernet_mac_address.as_deref().unwrap_or_default();
        text.parse().map_err(|_| wrong("link", index, text, "MAC address"))
    }
}

impl Network {
    /// The address with its prefix.
    pub(super) fn address(&self, index: usize) -> Result<IpNet, NetworkDataError> {
        let text = self.ip_address.as_deref().unwrap_or_default();
        net(text, self.netmask.as_deref())
            .ok_or_else(|| wrong("network", index, text, "address with a prefix or netmask"))
    }
}

impl Route {
    /// Where to, and over whom.
    pub(super) fn parse(&self, index: usize) -> Result<(IpNet, IpAddr), NetworkDataError> {
        let to = net(&self.network, self.netmask.as_deref())
            .ok_or_else(|| wrong("a route of network", index, &self.network, "network"))?;
        let gateway = self.gateway.parse();
        let gateway =
            gateway.map_err(|_| wrong("a route of network", index, &self.gateway, "address"))?;
        Ok((to, gateway))
    }
}

/// `10.0.0.1/24`, or `10.0.0.1` with `255.255.255.0`, or an IPv6 address with `64` or `ffff:…`.
fn net(address: &str, mask: Option<&str>) -> Option<IpNet> {
    if address.contains('/') {
        return address.parse().ok();
    }
    let mask = mask?;
    match address.parse().ok()? {
        IpAddr::V4(address) => match mask.parse::<Ipv4Addr>() {
            Ok(mask) => Ipv4Net::with_netmask(address, mask).ok().map(IpNet::V4),
            Err(_) => Ipv4Net::new(address, mask.parse().ok()?).ok().map(IpNet::V4),
        },
        IpAddr::V6(address) => match mask.parse() {
            Ok(mask) => Ipv6Net::with_netmask(address, mask).ok().map(IpNet::V6),
            Err(_) => Ipv6Net::new(address, mask.parse().ok()?).ok().map(IpNet::V6),
        },
    }
}
