//! `openstack/latest/network_data.json`: the links, networks and services of a machine (Nova's
//! specification "metadata-service-network-info").
//!
//! Read twice by the same code: when a deployment is asked for, so that what cannot be made is refused
//! before a disk is written; and by the agent of the installed system, which makes it. Everything that
//! goes into a configuration file is parsed into a type first: there is no text of this file in what
//! is written.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::Value;

use crate::MacAddr;

/// What Nova calls links that are plain interfaces to the machine.
const PLAIN: [&str; 8] = ["phy", "ethernet", "physical", "vif", "ovs", "bridge", "tap", "hw_veb"];
/// The longest value that a sentence repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The whole file, as it is written.
#[derive(Debug, Clone, Default)]
pub struct NetworkData {
    links: Vec<Link>,
    networks: Vec<Network>,
    services: Vec<Service>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Link {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    ethernet_mac_address: Option<String>,
    vlan_mac_address: Option<String>,
    #[serde(deserialize_with = "number")]
    mtu: Option<u32>,
    #[serde(deserialize_with = "number")]
    vlan_id: Option<u32>,
    vlan_link: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Network {
    link: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    ip_address: Option<String>,
    netmask: Option<String>,
    /// Over whom everything else is reached, where that is said of the network and not as a route.
    gateway: Option<String>,
    routes: Option<Vec<Route>>,
    /// A newer place than `services`.
    dns_nameservers: Option<Vec<String>>,
    /// Nova's place.
    services: Option<Vec<Service>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Route {
    network: Option<String>,
    netmask: Option<String>,
    /// Nothing where it leads to whoever is on the link.
    gateway: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Service {
    #[serde(rename = "type")]
    kind: Option<String>,
    address: Option<String>,
}

/// What cannot be made of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkDataError {
    /// It is something else.
    #[error("it is no object with lists of links, networks and services")]
    NoObject,
    /// An entry is something else.
    #[error("{what} {index} cannot be read: {why}")]
    Shape {
        /// In which list.
        what: &'static str,
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
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
    /// A value that is not there.
    #[error("{what} {index} has no `{key}`")]
    Missing {
        /// In which list.
        what: &'static str,
        /// Which entry.
        index: usize,
        /// Which value.
        key: &'static str,
    },
    /// Two links that would be one.
    #[error("links {first} and {second} have the same {what}")]
    Twice {
        /// Which.
        first: usize,
        /// And which.
        second: usize,
        /// What they have.
        what: &'static str,
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

/// An interface as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What it is.
    pub kind: InterfaceKind,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Whether it asks for an IPv4 address.
    pub dhcp4: bool,
    /// Whether it asks for an IPv6 address.
    pub dhcp6: bool,
    /// Whether it makes itself an IPv6 address from what routers say.
    pub slaac: bool,
    /// Where to over it.
    pub routes: Vec<RouteOver>,
    /// The VLANs that it carries, as places in the file and numbers.
    pub vlans: Vec<(usize, u16)>,
    /// Whether anything of the file is on it.
    pub is_used: bool,
}

/// What an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceKind {
    /// One of the machine's own, found by its address.
    Plain {
        /// Its address.
        mac: MacAddr,
    },
    /// A VLAN on another link.
    Vlan {
        /// Its place in the file.
        index: usize,
        /// Its number.
        id: u16,
        /// The address that it gets; that of the link below if none is given.
        mac: Option<MacAddr>,
    },
}

/// A route over an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteOver {
    /// Where to.
    pub to: IpNet,
    /// Over whom; nothing for who is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The gateway is in none of the interface's networks: it is on the link all the same.
    pub is_on_link: bool,
}

impl NetworkData {
    /// Reads the file's value. What is `null` is as if it were not there.
    ///
    /// # Errors
    /// The first entry that has another shape.
    pub fn parse(value: &Value) -> Result<Self, NetworkDataError> {
        let Value::Object(file) = value else { return Err(NetworkDataError::NoObject) };
        Ok(Self {
            links: entries(file.get("links"), "link")?,
            networks: entries(file.get("networks"), "network")?,
            services: entries(file.get("services"), "service")?,
        })
    }

    /// The interfaces, in the order of the links.
    ///
    /// # Errors
    /// The first entry of which nothing can be made.
    pub fn interfaces(&self) -> Result<Vec<Interface>, NetworkDataError> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (index, link) in self.links.iter().enumerate() {
            let missing = NetworkDataError::Missing { what: "link", index, key: "id" };
            if let Some(first) = places.insert(link.id.as_deref().ok_or(missing)?, index) {
                return Err(NetworkDataError::Twice { first, second: index, what: "id" });
            }
        }
        let mut interfaces = Vec::with_capacity(self.links.len());
        let mut macs: HashMap<MacAddr, usize> = HashMap::new();
        for (index, link) in self.links.iter().enumerate() {
            let kind = link.kind(index, &places)?;
            if let InterfaceKind::Plain { mac } = kind
                && let Some(first) = macs.insert(mac, index)
            {
                return Err(NetworkDataError::Twice { first, second: index, what: "address" });
            }
            interfaces.push(link.interface(index, kind)?);
        }
        for (index, network) in self.networks.iter().enumerate() {
            let missing = NetworkDataError::Missing { what: "network", index, key: "link" };
            let place = places.get(network.link.as_deref().ok_or(missing)?);
            let interface = place.and_then(|place| interfaces.get_mut(*place));
            let interface = interface.ok_or(NetworkDataError::Link { what: "network", index })?;
            network.put_on(interface, index)?;
        }
        for interface in &mut interfaces {
            interface.find_gateways();
        }
        for (index, link) in self.links.iter().enumerate() {
            if let Some(InterfaceKind::Vlan { id, .. }) = interfaces.get(index).map(|i| i.kind)
                && let Some(place) = link.vlan_link.as_deref().and_then(|id| places.get(id))
                && let Some(below) = interfaces.get_mut(*place)
            {
                below.vlans.push((index, id));
            }
        }
        Ok(interfaces)
    }

    /// All name servers, each once.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let of = |services: &[Service]| -> Vec<String> {
            let dns = services.iter().filter(|s| s.kind.as_deref() == Some("dns"));
            dns.filter_map(|s| s.address.clone()).collect()
        };
        let there = self.networks.iter().flat_map(|network| {
            let named = network.dns_nameservers.clone().unwrap_or_default();
            [named, of(network.services.as_deref().unwrap_or_default())]
        });
        let mut found: Vec<IpAddr> = Vec::new();
        for address in of(&self.services).into_iter().chain(there.flatten()) {
            match address.parse() {
                Ok(address) if !found.contains(&address) => found.push(address),
                _ => {}
            }
        }
        found
    }
}

/// A list, entry by entry, so that a fault is one entry's.
fn entries<T: DeserializeOwned>(
    list: Option<&Value>,
    what: &'static str,
) -> Result<Vec<T>, NetworkDataError> {
    let entries = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(NetworkDataError::NoObject),
    };
    let entry = |(index, value): (usize, &Value)| {
        serde_json::from_value(value.clone()).map_err(|error| {
            let why = shown(&error.to_string());
            NetworkDataError::Shape { what, index, why }
        })
    };
    entries.iter().enumerate().map(entry).collect()
}

/// A number, also one in quotes.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
            text.trim().parse().map(Some).map_err(|_| D::Error::custom("a number is wanted"))
        }
    }
}

fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(SHOWN_CHARS_MAX).map(clean).collect()
}

fn wrong(what: &'static str, index: usize, value: &str, wanted: &'static str) -> NetworkDataError {
    NetworkDataError::Value { what, index, value: shown(value), wanted }
}

impl Link {
    fn kind(
        &self,
        index: usize,
        places: &HashMap<&str, usize>,
    ) -> Result<InterfaceKind, NetworkDataError> {
        let mac = |text: &str| text.parse().map_err(|_| wrong("link", index, text, "MAC address"));
        let kind = self.kind.as_deref().unwrap_or("phy");
        if PLAIN.contains(&kind) {
            let mac = mac(self.ethernet_mac_address.as_deref().unwrap_or_default())?;
            return Ok(InterfaceKind::Plain { mac });
        }
        if kind != "vlan" {
            return Err(NetworkDataError::Kind { link: index, kind: shown(kind) });
        }
        let text = self.vlan_id.map(|id| id.to_string()).unwrap_or_default();
        let id = self.vlan_id.and_then(|id| u16::try_from(id).ok());
        let id = id.filter(|id| (1..=4094).contains(id));
        let id = id.ok_or_else(|| wrong("link", index, &text, "VLAN number"))?;
        let below = self.vlan_link.as_deref().and_then(|link| places.get(link));
        if below.is_none_or(|place| *place == index) {
            return Err(NetworkDataError::Link { what: "link", index });
        }
        let own = self.vlan_mac_address.as_ref().or(self.ethernet_mac_address.as_ref());
        let mac = own.map(|text| mac(text)).transpose()?;
        Ok(InterfaceKind::Vlan { index, id, mac })
    }

    fn interface(&self, index: usize, kind: InterfaceKind) -> Result<Interface, NetworkDataError> {
        if let Some(mtu) = self.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
            return Err(wrong("link", index, &mtu.to_string(), "MTU"));
        }
        Ok(Interface {
            kind,
            mtu: self.mtu,
            addresses: Vec::new(),
            dhcp4: false,
            dhcp6: false,
            slaac: false,
            routes: Vec::new(),
            vlans: Vec::new(),
            is_used: false,
        })
    }
}

impl Network {
    fn put_on(&self, interface: &mut Interface, index: usize) -> Result<(), NetworkDataError> {
        interface.is_used = true;
        match self.kind.as_deref() {
            Some("ipv4" | "ipv6") => interface.addresses.push(self.address(index)?),
            Some("ipv4_dhcp") => interface.dhcp4 = true,
            Some("ipv6_dhcp" | "ipv6_dhcpv6-stateful") => interface.dhcp6 = true,
            Some("ipv6_slaac" | "ipv6_dhcpv6-stateless") => interface.slaac = true,
            Some(kind) => {
                return Err(NetworkDataError::NetworkKind { network: index, kind: shown(kind) });
            }
            None => {
                return Err(NetworkDataError::Missing { what: "network", index, key: "type" });
            }
        }
        for route in self.routes.iter().flatten() {
            interface.routes.push(route.parse(index)?);
        }
        let Some(gateway) = &self.gateway else { return Ok(()) };
        let gateway: IpAddr = gateway
            .parse()
            .map_err(|_| wrong("network", index, gateway, "address of a gateway"))?;
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        let default = RouteOver { to: everything, gateway: Some(gateway), is_on_link: false };
        if !interface.routes.iter().any(|route| route.to == everything) {
            interface.routes.push(default);
        }
        Ok(())
    }

    /// The address with its prefix.
    fn address(&self, index: usize) -> Result<IpNet, NetworkDataError> {
        let text = self.ip_address.as_deref().unwrap_or_default();
        net(text, self.netmask.as_deref())
            .ok_or_else(|| wrong("network", index, text, "address with a prefix or netmask"))
    }
}

impl Route {
    fn parse(&self, index: usize) -> Result<RouteOver, NetworkDataError> {
        const WHAT: &str = "a route of network";
        let text = self.network.as_deref().unwrap_or_default();
        let to = net(text, self.netmask.as_deref());
        let to = to.ok_or_else(|| wrong(WHAT, index, text, "network"))?.trunc();
        let gateway = self
            .gateway
            .as_ref()
            .map(|text| text.parse::<IpAddr>().map_err(|_| wrong(WHAT, index, text, "address")));
        let gateway = gateway.transpose()?;
        if let Some(other) = gateway.filter(|gateway| gateway.is_ipv4() != to.addr().is_ipv4()) {
            let what = if other.is_ipv4() { "IPv6 address" } else { "IPv4 address" };
            return Err(wrong(WHAT, index, &other.to_string(), what));
        }
        Ok(RouteOver { to, gateway, is_on_link: false })
    }
}

impl Interface {
    /// Who is in none of the interface's networks is reached only where that is said: a machine with
    /// one address of its own (`/32`) and a gateway elsewhere.
    fn find_gateways(&mut self) {
        let asks = |gateway: &IpAddr| match gateway {
            IpAddr::V4(_) => self.dhcp4,
            IpAddr::V6(v6) => self.dhcp6 || self.slaac || v6.is_unicast_link_local(),
        };
        let addresses = &self.addresses;
        let is_far = |gateway: IpAddr| {
            !asks(&gateway) && !addresses.iter().any(|net| net.contains(&gateway))
        };
        let far: Vec<bool> =
            self.routes.iter().map(|route| route.gateway.is_some_and(is_far)).collect();
        for (route, far) in self.routes.iter_mut().zip(far) {
            route.is_on_link = far;
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MAC: &str = "52:54:00:12:34:56";

    fn interfaces(file: Value) -> Result<Vec<Interface>, NetworkDataError> {
        NetworkData::parse(&file)?.interfaces()
    }

    fn one_network(network: Value) -> Result<Interface, NetworkDataError> {
        let links = json!([{ "id": "a", "ethernet_mac_address": MAC }]);
        let mut network = network;
        network["link"] = "a".into();
        let found = interfaces(json!({ "links": links, "networks": [network] }))?;
        Ok(found.into_iter().next().unwrap())
    }

    #[test]
    fn what_cannot_be_made_is_a_sentence() {
        let link = json!({ "id": "a", "type": "phy", "ethernet_mac_address": MAC });
        for (file, expected) in [
            (json!([]), "it is no object with lists of links, networks and services"),
            (json!({ "links": {} }), "it is no object with lists of links, networks and services"),
            (
                json!({ "links": [{ "id": "a", "type": "dvs", "ethernet_mac_address": MAC }] }),
                "link 0 is of type `dvs`; only phy and vlan can be made",
            ),
            (json!({ "links": [{}] }), "link 0 has no `id`"),
            (json!({ "links": [link, link] }), "links 0 and 1 have the same id"),
            (
                json!({ "links": [link, { "id": "b", "ethernet_mac_address": MAC }] }),
                "links 0 and 1 have the same address",
            ),
            (
                json!({ "links": [{ "id": "a", "mtu": "large" }] }),
                "link 0 cannot be read: a number is wanted",
            ),
            (
                json!({ "links": [{ "id": "a", "ethernet_mac_address": "x\n[Route]" }] }),
                "link 0: `x [Route]` is no MAC address",
            ),
            (
                json!({ "links": [{ "id": "v", "type": "vlan", "vlan_id": 5, "vlan_link": "v" }] }),
                "link 0 is on a link that is not in the file",
            ),
            (
                json!({ "links": [link, { "id": "v", "type": "vlan", "vlan_id": 4095,
                                          "vlan_link": "a" }] }),
                "link 1: `4095` is no VLAN number",
            ),
            (
                json!({ "networks": [{ "link": "a", "type": "ipv4_dhcp" }] }),
                "network 0 is on a link that is not in the file",
            ),
            (json!({ "links": [link], "networks": [{ "link": "a" }] }), "network 0 has no `type`"),
            (
                json!({ "links": [link], "networks": [{ "link": "a", "type": "ipv4",
                                                        "ip_address": "10.0.0.1" }] }),
                "network 0: `10.0.0.1` is no address with a prefix or netmask",
            ),
        ] {
            assert_eq!(interfaces(file.clone()).unwrap_err().to_string(), expected, "{file}");
        }
    }

    #[test]
    fn nulls_and_numbers_in_quotes_are_as_they_are_meant() {
        let found = interfaces(json!({
            "links": [
                { "id": "a", "type": null, "ethernet_mac_address": MAC, "mtu": null },
                { "id": "v", "type": "vlan", "vlan_id": "100", "vlan_link": "a", "mtu": "1400",
                  "ethernet_mac_address": "52:54:00:12:34:57",
                  "vlan_mac_address": "52:54:00:12:34:58" },
                { "id": "w", "type": "vlan", "vlan_id": 7, "vlan_link": "a" },
            ],
            "networks": [{ "link": "v", "type": "ipv4_dhcp", "routes": null, "services": null }],
            "services": null,
        }))
        .unwrap();
        assert_eq!(found[0].vlans, [(1, 100), (2, 7)]);
        let mac = Some("52:54:00:12:34:58".parse().unwrap());
        assert_eq!(found[1].kind, InterfaceKind::Vlan { index: 1, id: 100, mac });
        assert_eq!((found[1].mtu, found[1].dhcp4, found[1].is_used), (Some(1400), true, true));
        assert_eq!(found[2].kind, InterfaceKind::Vlan { index: 2, id: 7, mac: None });
    }

    #[test]
    fn a_gateway_in_no_network_is_on_the_link() {
        let all = json!("0.0.0.0/0");
        let on_link = |address: &str, to: &Value, gateway: &str| {
            let kind = if address.contains(':') { "ipv6" } else { "ipv4" };
            let routes = json!([{ "network": to, "gateway": gateway }]);
            let network = json!({ "type": kind, "ip_address": address, "routes": routes });
            one_network(network).unwrap().routes[0].is_on_link
        };
        assert!(on_link("192.168.24.50/32", &all, "192.168.24.1"));
        assert!(!on_link("192.168.24.50/24", &all, "192.168.24.1"));
        assert!(!on_link("192.168.24.50/31", &all, "192.168.24.51"));
        assert!(on_link("fd00::5/128", &json!("::/0"), "fd00::1"));
        assert!(!on_link("fd00::5/128", &json!("::/0"), "fe80::1"));
        let lease = json!({ "type": "ipv4_dhcp",
                            "routes": [{ "network": "10.0.0.0/8", "gateway": "192.168.24.1" }] });
        assert!(!one_network(lease).unwrap().routes[0].is_on_link, "the lease says what is near");
    }

    #[test]
    fn a_gateway_of_the_network_is_the_way_to_everywhere() {
        let network = json!({ "type": "ipv4", "ip_address": "192.168.24.50/24",
                              "gateway": "192.168.24.1" });
        let routes = one_network(network.clone()).unwrap().routes;
        let gateway = Some("192.168.24.1".parse().unwrap());
        let everywhere = "0.0.0.0/0".parse().unwrap();
        assert_eq!(routes, [RouteOver { to: everywhere, gateway, is_on_link: false }]);
        let mut both = network;
        both["routes"] = json!([{ "network": "0.0.0.0", "netmask": "0.0.0.0",
                                  "gateway": "192.168.24.2" }]);
        let routes = one_network(both).unwrap().routes;
        assert_eq!(routes.len(), 1, "a route that is written out comes first");
        assert_eq!(routes[0].gateway, Some("192.168.24.2".parse().unwrap()));
    }

    #[test]
    fn a_route_without_a_gateway_leads_to_the_link() {
        let network = json!({ "type": "ipv4", "ip_address": "192.168.24.50/24",
                              "routes": [{ "network": "10.0.0.0/24" }] });
        let routes = one_network(network).unwrap().routes;
        assert_eq!((routes[0].gateway, routes[0].is_on_link), (None, false));
        let mixed = json!({ "type": "ipv4", "ip_address": "192.168.24.50/24",
                            "routes": [{ "network": "10.0.0.0/24", "gateway": "fe80::1" }] });
        assert_eq!(
            one_network(mixed).unwrap_err().to_string(),
            "a route of network 0: `fe80::1` is no IPv4 address"
        );
    }
}
