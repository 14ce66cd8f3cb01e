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
    let (mut links, mut bridge) = (Vec::new(), None);
    for (name, network) in config.networks() {
        let Some((link, own)) = machine.links.to(name).zip(machine.addresses.on(name)) else {
            continue;
        };
        let (link, prefix) = (link.clone(), network.cidr.prefix_len());
        let address = Ipv4Net::new(own, prefix).unwrap_or_else(|_| Ipv4Net::from(own));
        let leads_out = config.default_route.as_deref() == Some(name);
        let gateway = network.gateway.filter(|_| leads_out);
        if name == Network::Public.as_str() {
            let name = PROVIDER_BRIDGE.to_owned();
            bridge = Some(BridgeAddress { name, link, address, gateway });
        } else {
            links.push(LinkAddress { link, address, gateway });
        }
    }
    Ok(NetworkSetup {
        bonds: machine.links.bonds.clone(),
        vlans: machine.links.vlans.clone(),
        mtus: machine.links.mtus.clone(),
        links,
        bridge,
        tunnel: layout.tunnels.and_then(|tunnels| tunnels.of(layout, machine)),
        hosts: hosts(layout),
        name_servers: config.dns_servers.clone(),
        time_servers: config.ntp_servers.clone(),
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
            let Some((to, network)) = layout.address_for(machine, port.network) else {
                let (machine, service) = (machine.name.to_string(), name.to_string());
                return Err(match layout.config.network_for(port.network) {
                    None => PlanError::NoPublicNetwork { machine, service },
                    Some(network) => PlanError::NotInNetwork {
                        machine,
                        service,
                        purpose: port.network.to_string(),
                        network: network.to_owned(),
                    },
                });
            };
            let from = (port.network != Network::Public).then_some(network.cidr);
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
