//! Tunnels between switches that forward outside of the kernel.
//!
//! Such a switch sends tunnelled packets over a bridge of its own and by no other way, and finds the
//! bridge by the machine's routes. So the bridge has a card of its own on the internal link, whose
//! address stays with the kernel, and an address in a network that nothing else is in:
//!
//! ```text
//! internal link ── 172.17.0.10/24
//!   └ tunnel (macvlan) ── br-phy (in the switch) ── 198.18.0.10/24
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use undercloud_model::{MacAddr, NodeName, agent::cloud::TunnelAddress};

use super::{
    Network, PlanError,
    layout::{Layout, Machine},
};
use crate::CloudConfig;

/// The bridge and its card, by the names that `services/ovn` gives them.
const BRIDGE: &str = "br-phy";
const CARD: &str = "tunnel";
/// Set apart for trials of networks, never routed (RFC 2544): taken for what never leaves the link.
const SPACE: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// The network of the tunnels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tunnels {
    prefix: u8,
}

impl Tunnels {
    /// A network with room for every address of the internal one; `machine` is why.
    pub(super) fn new(machine: &NodeName, config: &CloudConfig) -> Result<Self, PlanError> {
        let (first, prefix) = SPACE;
        let space = Ipv4Net::new(first, prefix).unwrap_or_default();
        let internal = config.internal.cidr;
        let overlaps = |net: Ipv4Net| space.contains(&net.addr()) || net.contains(&first);
        let taken = config.networks().any(|(_, network)| overlaps(network.cidr));
        if internal.prefix_len() < prefix || taken {
            return Err(PlanError::NoTunnels { machine: machine.to_string(), space });
        }
        Ok(Self { prefix: internal.prefix_len() })
    }

    /// A machine's address in it: the last part of its internal one.
    pub(super) fn address(self, internal: Ipv4Addr) -> Ipv4Addr {
        let host = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        Ipv4Addr::from(u32::from(SPACE.0) | (u32::from(internal) & host))
    }

    /// What a machine's network step makes.
    pub(super) fn of(self, layout: &Layout<'_>, machine: &Machine<'_>) -> Option<TunnelAddress> {
        let network = layout.config.network_for(Network::Tunnel);
        let network = network.unwrap_or(Network::Internal.as_str());
        let address = self.address(machine.addresses.internal);
        Some(TunnelAddress {
            below: machine.links.to(network)?.clone(),
            name: CARD.to_owned(),
            mac: mac_of(machine.links.mac_to(network)?),
            bridge: BRIDGE.to_owned(),
            address: Ipv4Net::new(address, self.prefix).unwrap_or_else(|_| address.into()),
        })
    }
}

/// An address for a card on a card: locally administered (IEEE 802, 8.4), and another than that of
/// the card below even if that is too.
pub(super) fn mac_of(below: MacAddr) -> MacAddr {
    let mut bytes = *below.as_bytes();
    bytes[0] = (bytes[0] | 0x02) ^ 0x04;
    MacAddr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cidr: &str) -> CloudConfig {
        let mut config: CloudConfig = CloudConfig::shipped_text().parse().unwrap();
        config.internal.cidr = cidr.parse().unwrap();
        config
    }

    fn tunnels(cidr: &str) -> Result<Tunnels, PlanError> {
        Tunnels::new(&"controller-0".parse().unwrap(), &config(cidr))
    }

    #[test]
    fn every_machine_has_an_address_of_its_own() {
        let address = |cidr: &str, internal: &str| {
            tunnels(cidr).unwrap().address(internal.parse().unwrap()).to_string()
        };
        assert_eq!(address("172.17.0.0/24", "172.17.0.10"), "198.18.0.10");
        assert_eq!(address("172.17.128.0/17", "172.17.255.7"), "198.18.127.7");
        assert_eq!(address("10.2.0.0/15", "10.3.255.254"), "198.19.255.254");
    }

    #[test]
    fn networks_that_leave_no_room_are_refused_with_the_remedy() {
        for cidr in ["10.0.0.0/8", "10.0.0.0/14", "198.18.4.0/24", "198.19.0.0/16"] {
            let error = tunnels(cidr).unwrap_err().to_string();
            assert!(
                error.starts_with("machine controller-0: its kernel has no openvswitch"),
                "{error}"
            );
        }
        let mut config = config("172.17.0.0/24");
        config.public.cidr = "198.16.0.0/14".parse().unwrap();
        assert!(Tunnels::new(&"controller-0".parse().unwrap(), &config).is_err());
    }

    #[test]
    fn a_card_on_a_card_has_another_address() {
        for (below, on_top) in
            [("52:54:00:12:34:56", "56:54:00:12:34:56"), ("b0:26:28:00:00:01", "b6:26:28:00:00:01")]
        {
            assert_eq!(mac_of(below.parse().unwrap()).to_string(), on_top);
        }
    }
}
