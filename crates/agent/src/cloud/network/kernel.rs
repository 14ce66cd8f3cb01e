//! What the kernel says about addresses and routes, from `/proc`: no process is needed to read it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use undercloud_model::agent::cloud::LinkAddress;

use crate::sys::Host;

/// A look at the kernel's IPv4 tables.
#[derive(Debug)]
pub(super) struct Kernel {
    addresses: Vec<Ipv4Addr>,
    routes: Vec<Route>,
}

#[derive(Debug, PartialEq, Eq)]
struct Route {
    link: String,
    to: Ipv4Net,
    through: Ipv4Addr,
}

impl Kernel {
    pub(super) fn read(host: &Host) -> Self {
        Self {
            addresses: local_addresses(&host.text("proc/net/fib_trie").unwrap_or_default()),
            routes: routes(&host.text("proc/net/route").unwrap_or_default()),
        }
    }

    /// Whether a link has an address with its prefix: the address is this machine's, and its
    /// network is on the link.
    pub(super) fn has(&self, name: &str, link: &LinkAddress) -> bool {
        let on_link = |r: &Route| {
            r.link == name && r.to == link.address.trunc() && r.through.is_unspecified()
        };
        self.addresses.contains(&link.address.addr())
            // A network of one address has no route.
            && (link.address.prefix_len() == 32 || self.routes.iter().any(on_link))
    }

    /// The link by which an address is reached.
    pub(super) fn link_to(&self, address: Ipv4Addr) -> Option<&str> {
        let routes = self.routes.iter().filter(|r| r.to.contains(&address));
        routes.max_by_key(|r| r.to.prefix_len()).map(|r| r.link.as_str())
    }
}

/// The addresses of this machine: a line `|-- ADDRESS` and below it `/32 host LOCAL`.
fn local_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last);
        }
    }
    found
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses as hexadecimal numbers
/// whose bytes in memory are in network order (proc(5)).
fn routes(text: &str) -> Vec<Route> {
    let address =
        |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [link, to, through, _, _, _, _, mask, ..] = fields[..] else { return None };
        let to = Ipv4Net::with_netmask(address(to)?, address(mask)?).ok()?;
        Some(Route { link: link.to_owned(), to, through: address(through)? })
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
ens3\t0018A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
ens4\t000011AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
ens4\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
";

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_are_read() {
        let kernel =
            Kernel { addresses: vec!["172.17.0.10".parse().unwrap()], routes: routes(ROUTE) };
        assert_eq!(kernel.link_to("192.168.24.1".parse().unwrap()), Some("ens3"));
        assert_eq!(kernel.link_to("10.0.0.1".parse().unwrap()), Some("ens4"));
        let link = |address: &str| LinkAddress {
            link: "52:54:00:00:00:01".parse().unwrap(),
            gateway: None,
            address: address.parse().unwrap(),
        };
        assert!(kernel.has("ens4", &link("172.17.0.10/24")));
        assert!(!kernel.has("ens3", &link("172.17.0.10/24")));
        assert!(!kernel.has("ens4", &link("172.17.0.10/16")));
        assert!(!kernel.has("ens4", &link("172.17.0.11/24")));
    }

    #[test]
    fn local_addresses_are_told_from_others() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.17.0.0\n        /24 link UNICAST\n\
                    Local:\n     |-- 172.17.0.10\n        /32 host LOCAL\n\
                    \x20    |-- 172.17.0.255\n        /32 link BROADCAST\n";
        assert_eq!(local_addresses(text), ["172.17.0.10".parse::<Ipv4Addr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = (routes(&text), local_addresses(&text));
        }
    }
}
