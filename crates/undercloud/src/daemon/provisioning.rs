//! The network that machines boot from: the lab's own, or one on an interface of this host that
//! somebody named (`undercloud serve --provisioning-interface`), for machines of metal.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    process::Command,
    str::FromStr,
};

use ipnet::Ipv4Net;
use serde::Deserialize;
use undercloud_api::ApiError;
use undercloud_lab::{Lab, NetworkConfig, namespace};
use undercloud_model::ErrorKind;
use undercloud_netboot::{NetbootSockets, Opened, Place};
use undercloud_store::ProvisioningRange;

use super::site::{refused, unavailable};
use crate::failure::Failure;

/// The lab's network that machines boot from.
const PROVISIONING: &str = "provisioning";
/// Ports on our address in it. It is a network of its own: these can be the same in every state.
const HTTP_BOOT_PORT: u16 = 8088;
const AGENTS_PORT: u16 = 8443;
/// Enrolled machines have addresses from the tenth on; those before are for what a site adds.
const FIRST_ADDRESS: u32 = 10;

/// Addresses from the first to the last, written `FIRST-LAST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// What was written is no [`AddressRange`].
#[derive(Debug, thiserror::Error)]
#[error("a range of addresses is written FIRST-LAST, as in 192.168.24.10-192.168.24.99")]
pub(crate) struct NoRange;

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for AddressRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let (first, last) = text.split_once('-').ok_or(NoRange)?;
        let address = |text: &str| text.trim().parse().map_err(|_| NoRange);
        let range = Self { first: address(first)?, last: address(last)? };
        if range.first > range.last { Err(NoRange) } else { Ok(range) }
    }
}

/// An interface of this host that machines of metal boot from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name, as `ip link` shows it.
    pub(crate) name: String,
    /// The addresses that enrolled machines get; all from the tenth on if none are given.
    pub(crate) range: Option<AddressRange>,
}

impl Interface {
    /// Whether machines can boot from it now.
    ///
    /// # Errors
    /// It is not there, has not just one address, or the range is not in its network.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        Provisioning::of_interface(self).map(drop)
    }
}

/// Where machines boot from.
#[derive(Debug, Clone)]
pub(super) struct Provisioning {
    /// The namespace that it is in; `None` is the host's.
    namespace: Option<String>,
    interface: String,
    /// Our address on it.
    host: Ipv4Addr,
    range: ProvisioningRange,
}

impl Provisioning {
    /// The lab's.
    pub(super) fn of_lab(lab: &Lab) -> Result<Self, ApiError> {
        let found = lab.network().bridges().find(|(_, n)| n.name.as_str() == PROVISIONING);
        let (bridge, network): (&str, &NetworkConfig) = found
            .ok_or_else(|| ApiError::invalid(format!("the lab has no network `{PROVISIONING}`")))?;
        Ok(Self {
            namespace: Some(lab.network().namespace().to_owned()),
            interface: bridge.to_owned(),
            host: network.host_address(),
            range: range(network.cidr, network.host_address(), None).map_err(ApiError::invalid)?,
        })
    }

    /// An interface's, by the address that it has.
    pub(super) fn of_interface(wanted: &Interface) -> Result<Self, Failure> {
        let (host, network) = address_of(&wanted.name)?;
        let range = range(network, host, wanted.range).map_err(|why| {
            Failure::new(ErrorKind::Invalid, format!("--provisioning-range: {why}"))
        })?;
        Ok(Self { namespace: None, interface: wanted.name.clone(), host, range })
    }

    /// The addresses that enrolled machines get.
    pub(super) fn range(&self) -> &ProvisioningRange {
        &self.range
    }

    /// Our address in it.
    pub(super) fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Where agents call.
    pub(super) fn agents_url(&self) -> String {
        format!("https://{}:{AGENTS_PORT}", self.host)
    }

    /// Where machines boot from, for people.
    pub(super) fn boot_place(&self) -> String {
        format!("http://{}:{HTTP_BOOT_PORT}, dhcp, tftp{}", self.host, self.place())
    }

    /// Which network this is, for people.
    pub(super) fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!(" inside {namespace}"),
            None => format!(" on {}", self.interface),
        }
    }

    /// The listener for agents.
    pub(super) fn agents_listener(&self) -> Result<TcpListener, ApiError> {
        let address = SocketAddrV4::new(self.host, AGENTS_PORT);
        if let Some(namespace) = &self.namespace {
            return namespace::open_tcp_listener(namespace, address).map_err(refused);
        }
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        listener.map_err(|error| {
            unavailable(&format!("the agents' listener cannot use tcp {address}"), error)
                .hint(format!("ss -ltnp 'sport = {AGENTS_PORT}' shows who does"))
        })
    }

    /// The sockets of network boot.
    pub(super) fn boot_sockets(&self) -> Result<Opened, ApiError> {
        let namespace = self.namespace.as_deref().map(|name| {
            std::fs::File::open(namespace::path(name))
                .map_err(|error| unavailable("cannot open the lab's namespace", error))
        });
        NetbootSockets::open(Place {
            namespace: namespace.transpose()?.map(Into::into),
            interface: &self.interface,
            server: self.host,
            http_port: HTTP_BOOT_PORT,
        })
        .map_err(|error| unavailable("network boot", error))
    }
}

/// Why a range cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRange {
    #[error("{address} is not in {network}")]
    Outside { address: Ipv4Addr, network: Ipv4Net },
    #[error("{address} is {network}'s own address, and no machine's")]
    Network { address: Ipv4Addr, network: Ipv4Net },
    #[error("{address} is {network}'s broadcast address, and no machine's")]
    Broadcast { address: Ipv4Addr, network: Ipv4Net },
    #[error("{host} in it is ours; without it: {others}")]
    Ours { host: Ipv4Addr, others: String },
    #[error("{network} has no room for machines beside {host}; a larger network is needed")]
    NoRoom { network: Ipv4Net, host: Ipv4Addr },
}

/// Addresses for enrolled machines: those that are asked for, or else the larger part of the network
/// that is before or behind our own address, without the first ones.
fn range(
    network: Ipv4Net,
    host: Ipv4Addr,
    wanted: Option<AddressRange>,
) -> Result<ProvisioningRange, BadRange> {
    let (start, end) = (u32::from(network.network()), u32::from(network.broadcast()));
    let ours = u32::from(host);
    let AddressRange { first, last } = match wanted {
        Some(wanted) => wanted,
        None => {
            let (first, last) = (start.saturating_add(FIRST_ADDRESS), end.saturating_sub(1));
            let below = (first, last.min(ours.saturating_sub(1)));
            let above = (first.max(ours.saturating_add(1)), last);
            let size =
                |(first, last): (u32, u32)| (u64::from(last) + 1).saturating_sub(first.into());
            let (first, last) = if size(below) > size(above) { below } else { above };
            if first > last {
                return Err(BadRange::NoRoom { network, host });
            }
            AddressRange { first: first.into(), last: last.into() }
        }
    };
    for address in [first, last] {
        if !network.contains(&address) {
            return Err(BadRange::Outside { address, network });
        }
        // The two addresses of a network of two, and the one of one, are machines' (RFC 3021).
        if network.prefix_len() < 31 && u32::from(address) == start {
            return Err(BadRange::Network { address, network });
        }
        if network.prefix_len() < 31 && u32::from(address) == end {
            return Err(BadRange::Broadcast { address, network });
        }
    }
    if (first..=last).contains(&host) {
        let below = AddressRange { first, last: ours.saturating_sub(1).into() };
        let above = AddressRange { first: ours.saturating_add(1).into(), last };
        let others = [below, above].into_iter().filter(|part| part.first <= part.last);
        let others: Vec<String> = others.map(|part| part.to_string()).collect();
        return Err(BadRange::Ours { host, others: others.join(" or ") });
    }
    Ok(ProvisioningRange { network, first, last })
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    addr_info: Vec<LinkAddress>,
}

#[derive(Deserialize)]
struct LinkAddress {
    local: Ipv4Addr,
    prefixlen: u8,
}

/// The one IPv4 address that an interface has.
fn address_of(interface: &str) -> Result<(Ipv4Addr, Ipv4Net), Failure> {
    let no = |message: String| Failure::new(ErrorKind::Invalid, message);
    let hint = format!("ip address add 192.168.24.1/24 dev {interface} gives it one");
    let output = Command::new("ip")
        .args(["-j", "-4", "address", "show", "scope", "global", "dev", interface])
        .output()
        .map_err(|error| {
            no(format!("cannot run `ip`: {error}")).hint("apt-get install iproute2")
        })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(no(format!("--provisioning-interface {interface}: {why}")).hint("ip link"));
    }
    let found = parse_addresses(&output.stdout)
        .ok_or_else(|| no(format!("what `ip` says about {interface} is no list of addresses")))?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(no(format!("{interface} has no IPv4 address")).hint(hint)),
        [_, second, ..] => {
            let message = format!("{interface} has several IPv4 addresses: which one is meant?");
            let hint =
                format!("ip address del {}/{} dev {interface}", second.0, second.1.prefix_len());
            Err(no(message).hint(hint))
        }
    }
}

fn parse_addresses(json: &[u8]) -> Option<Vec<(Ipv4Addr, Ipv4Net)>> {
    let links: Vec<Link> = serde_json::from_slice(json).ok()?;
    let address =
        |a: &LinkAddress| Ipv4Net::new(a.local, a.prefixlen).ok().map(|n| (a.local, n.trunc()));
    links.iter().flat_map(|link| &link.addr_info).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_addresses_in_order() {
        let range: AddressRange = "10.0.0.5-10.0.0.9".parse().unwrap();
        assert_eq!((range.first.octets()[3], range.last.octets()[3]), (5, 9));
        for text in ["", "10.0.0.5", "10.0.0.9-10.0.0.5", "a-b", "10.0.0.5-10.0.0.9-", "-"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_ip_prints_is_read() {
        let json = br#"[{"ifindex":2,"ifname":"eth1","addr_info":[{"family":"inet",
            "local":"192.168.24.1","prefixlen":24,"broadcast":"192.168.24.255","scope":"global"}]}]"#;
        let found = parse_addresses(json).unwrap();
        assert_eq!(found, [("192.168.24.1".parse().unwrap(), "192.168.24.0/24".parse().unwrap())]);
        assert_eq!(parse_addresses(b"[{}]"), Some(vec![]));
        for bad in ["", "{}", r#"[{"addr_info":[{"local":"10.0.0.1","prefixlen":33}]}]"#] {
            assert_eq!(parse_addresses(bad.as_bytes()), None, "{bad}");
        }
    }

    fn of(network: &str, host: &str, wanted: Option<&str>) -> Result<(Ipv4Addr, Ipv4Addr), String> {
        let wanted = wanted.map(|wanted| wanted.parse().unwrap());
        let found = range(network.parse().unwrap(), host.parse().unwrap(), wanted);
        found.map(|range| (range.first, range.last)).map_err(|error| error.to_string())
    }

    fn pair(first: &str, last: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
        Ok((first.parse().unwrap(), last.parse().unwrap()))
    }

    #[test]
    fn machines_get_what_is_left_of_the_network() {
        let net = "192.168.24.0/24";
        assert_eq!(of(net, "192.168.24.1", None), pair("192.168.24.10", "192.168.24.254"));
        // Ours in the middle of it: the larger part.
        assert_eq!(of(net, "192.168.24.50", None), pair("192.168.24.51", "192.168.24.254"));
        assert_eq!(of(net, "192.168.24.254", None), pair("192.168.24.10", "192.168.24.253"));
        let some = Some("192.168.24.50-192.168.24.60");
        assert_eq!(of(net, "192.168.24.1", some), pair("192.168.24.50", "192.168.24.60"));
        assert!(of("10.0.0.0/30", "10.0.0.1", None).unwrap_err().contains("no room for machines"));
    }

    #[test]
    fn no_machine_gets_an_address_that_is_none_or_ours() {
        let net = "10.77.0.0/24";
        for (wanted, words) in [
            ("10.77.0.0-10.77.0.9", "10.77.0.0/24's own address"),
            ("10.77.0.250-10.77.0.255", "broadcast address"),
            ("10.77.0.200-10.77.1.5", "10.77.1.5 is not in 10.77.0.0/24"),
            ("10.76.0.1-10.77.0.9", "10.76.0.1 is not in"),
            ("10.77.0.1-10.77.0.9", "10.77.0.1 in it is ours; without it: 10.77.0.2-10.77.0.9"),
        ] {
            let error = of(net, "10.77.0.1", Some(wanted)).unwrap_err();
            assert!(error.contains(words), "{wanted}: {error}");
        }
        let error = of(net, "10.77.0.5", Some("10.77.0.2-10.77.0.9")).unwrap_err();
        assert!(error.ends_with("10.77.0.2-10.77.0.4 or 10.77.0.6-10.77.0.9"), "{error}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let wanted = Interface { name: "no-such-link0".into(), range: None };
        let error = Provisioning::of_interface(&wanted).unwrap_err().to_string();
        assert!(error.contains("--provisioning-interface no-such-link0"), "{error}");
    }
}
