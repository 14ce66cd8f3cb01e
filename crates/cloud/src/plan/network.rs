//! A machine's links, names and firewall.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::Ipv4Net;
use undercloud_model::agent::cloud::{
    BridgeAddress, Firewall, FirewallHole, HostEntry, LinkAddress, NetworkSetup, PortProtocol,
};

use super::{
    Network, PlanError,
    layout::{Layout, Machine},
};
use crate::definition::HAPROXY;

/// The bridge that carries the provider network, by the name that `services/ovn` gives it.
const PROVIDER_BRIDGE: &str = "br-ex";

pub(super) fn setup(layout: &Layout<'_>, machine: &Machine<'_>) -> Result<NetworkSetup, PlanError> {
    let config = layout.config;
    let address = |address, cidr: Ipv4Net| {
        Ipv4Net::new(address, cidr.prefix_len()).unwrap_or_else(|_| Ipv4Net::from(address))
    };
    let internal = LinkAddress {
        mac: machine.internal_mac,
        address: address(machine.addresses.internal, config.internal.cidr),
    };
    let bridge =
        machine.public_mac.zip(machine.addresses.public).map(|(mac, public)| BridgeAddress {
            name: PROVIDER_BRIDGE.to_owned(),
            mac,
            address: address(public, config.public.cidr),
        });
    Ok(NetworkSetup {
        links: vec![internal],
        bridge,
        tunnel: layout.tunnels.map(|tunnels| tunnels.of(machine)),
        hosts: hosts(layout),
        firewall: Firewall { allow: holes(layout, machine)?.into_iter().collect() },
    })
}

fn hosts(layout: &Layout<'_>) -> Vec<HostEntry> {
    let entry = |address, name: &str| HostEntry {
        address: IpAddr::V4(address),
        names: vec![name.to_owned()],
    };
    let machines = layout.machines.iter();
    let mut hosts: Vec<_> =
        machines.map(|m| entry(m.addresses.internal, m.name.as_str())).collect();
    let public = layout.config.public.host.as_deref();
    hosts.extend(public.map(|name| entry(layout.public_address, name)));
    hosts
}

fn holes(layout: &Layout<'_>, machine: &Machine<'_>) -> Result<BTreeSet<FirewallHole>, PlanError> {
    let mut holes = BTreeSet::new();
    for (name, service) in &machine.services {
        for port in &service.ports {
            let (to, from) = match (port.network, machine.addresses.public) {
                (Network::Internal, _) => {
                    (machine.addresses.internal, Some(layout.config.internal.cidr))
                }
                (Network::Public, Some(public)) => (public, None),
                (Network::Public, None) => {
                    return Err(PlanError::NoPublicNetwork {
                        machine: machine.name.to_string(),
                        service: name.to_string(),
                    });
                }
            };
            let range = port.range();
            holes.insert(FirewallHole {
                to,
                from,
                protocol: port.protocol,
                port: range.first,
                last_port: (range.last != range.first).then_some(range.last),
            });
        }
    }
    if machine.runs(HAPROXY)
        && let Some(to) = machine.addresses.public
    {
        let services = layout.services();
        let ports = services.values().flat_map(|(service, _)| &service.ports);
        for port in ports.filter_map(|port| port.published()) {
            holes.insert(FirewallHole {
                to,
                from: None,
                protocol: PortProtocol::Tcp,
                port,
                last_port: None,
            });
        }
    }
    Ok(holes)
}
