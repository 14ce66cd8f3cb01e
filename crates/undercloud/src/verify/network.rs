//! Neutron: the public network, which stays, and a network for the server, which does not.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use undercloud_api::admin::CloudAccess;

use super::{
    NAME, id_of, listed,
    session::{Service::Network, Session},
    wait::{Seen, until},
};

/// The public network's name, and its subnet's.
const PUBLIC: &str = "public";
/// What the provider network is called in the plugin's configuration.
const PHYSICAL_NETWORK: &str = "physnet1";
/// Addresses of the server's network: behind the router, so that they may be any.
const SUBNET: &str = "192.168.50.0/24";
/// How long ports may keep their network after their server is gone.
const RELEASE: Duration = Duration::from_secs(60);

/// What the server is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Networks {
    pub(super) network: String,
    pub(super) security_group: String,
}

/// Makes the public network and its subnet, if there is none of that name. They are the cloud's
/// and stay. Returns the network's id.
pub(super) fn ensure_public(session: &Session, access: &CloudAccess) -> Result<(String, String)> {
    let public = &access.public_network;
    let found = session.get(Network, &format!("/networks?name={PUBLIC}"))?;
    let (network, made) = match found["networks"].get(0) {
        Some(network) => (id_of(network)?, "is there"),
        None => {
            let network = json!({ "network": {
                "name": PUBLIC,
                "router:external": true,
                "provider:network_type": "flat",
                "provider:physical_network": PHYSICAL_NETWORK,
            }});
            let made = session.post(Network, "/networks", &network)?;
            (id_of(&made["network"])?, "is made")
        }
    };
    let subnets = session.get(Network, &format!("/subnets?network_id={network}"))?;
    if subnets["subnets"].get(0).is_none() {
        let subnet = json!({ "subnet": {
            "name": PUBLIC,
            "network_id": network,
            "ip_version": 4,
            "cidr": public.cidr,
            "gateway_ip": public.gateway,
            "enable_dhcp": false,
            "allocation_pools": [{ "start": public.floating_first, "end": public.floating_last }],
        }});
        session.post(Network, "/subnets", &subnet)?;
    }
    let (first, last) = (public.floating_first, public.floating_last);
    Ok((network, format!("`{PUBLIC}` {made}, {first} to {last}")))
}

/// Makes the server's network, its subnet, a router to the public network, and what may come in.
pub(super) fn make(session: &Session, public: &str) -> Result<(Networks, String)> {
    let make = |kind: &str, path: &str, body: Value| -> Result<String> {
        let made = session.post(Network, path, &json!({ kind: body }))?;
        id_of(&made[kind])
    };
    let network = make("network", "/networks", json!({ "name": NAME }))?;
    let subnet = json!({
        "name": NAME, "network_id": network, "ip_version": 4, "cidr": SUBNET,
    });
    let subnet = make("subnet", "/subnets", subnet)?;
    let gateway = json!({ "name": NAME, "external_gateway_info": { "network_id": public } });
    let router = make("router", "/routers", gateway)?;
    let interface = json!({ "subnet_id": subnet });
    session.put(Network, &format!("/routers/{router}/add_router_interface"), &interface)?;
    let security_group = make("security_group", "/security-groups", json!({ "name": NAME }))?;
    for (protocol, port) in [("icmp", None), ("tcp", Some(22)), ("tcp", Some(80))] {
        let rule = json!({
            "security_group_id": security_group,
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": protocol,
            "port_range_min": port,
            "port_range_max": port,
        });
        make("security_group_rule", "/security-group-rules", rule)?;
    }
    let detail = format!("{SUBNET} behind a router; icmp, ssh and http may come in");
    Ok((Networks { network, security_group }, detail))
}

/// Gives the server a floating address.
pub(super) fn floating_address(
    session: &Session,
    public: &str,
    server: &str,
) -> Result<(String, String)> {
    let ports = session.get(Network, &format!("/ports?device_id={server}"))?;
    let port = ports["ports"].get(0).context("the server has no port")?;
    let request = json!({ "floatingip": {
        "floating_network_id": public,
        "port_id": id_of(port)?,
        "description": NAME,
    }});
    let made = session.post(Network, "/floatingips", &request)?;
    let address = made["floatingip"]["floating_ip_address"].as_str();
    let address = address.context("Neutron gives a floating address without an address")?;
    Ok((address.to_owned(), address.to_owned()))
}

/// The agents and controllers of Neutron that do not answer; nothing when all do.
pub(super) fn silent_agents(session: &Session) -> Result<Seen<usize>> {
    let answer = session.get(Network, "/agents")?;
    let agents = answer["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let silent: Vec<String> = agents
        .iter()
        .filter(|agent| agent["alive"] != true)
        .map(|agent| {
            let word = |key: &str| agent[key].as_str().unwrap_or("?").to_owned();
            format!("{} on {}", word("agent_type"), word("host"))
        })
        .collect();
    if agents.is_empty() {
        return Ok(Seen::NotYet("Neutron knows no agent".to_owned()));
    }
    if silent.is_empty() {
        return Ok(Seen::Yes(agents.len()));
    }
    Ok(Seen::NotYet(format!("not alive: {}", silent.join(", "))))
}

/// Removes what earlier runs made here: addresses, then routers, networks, groups.
pub(super) fn remove(session: &Session) -> Result<usize> {
    let mut removed = 0;
    let addresses = session.get(Network, &format!("/floatingips?description={NAME}"))?;
    for address in addresses["floatingips"].as_array().into_iter().flatten() {
        session.delete(Network, &format!("/floatingips/{}", id_of(address)?))?;
        removed += 1;
    }
    let routers = session.get(Network, &format!("/routers?name={NAME}"))?;
    for router in listed(&routers, "routers") {
        let ports = session.get(Network, &format!("/ports?device_id={router}"))?;
        for port in ports["ports"].as_array().into_iter().flatten() {
            if port["device_owner"] == "network:router_interface" {
                let body = json!({ "port_id": id_of(port)? });
                let path = format!("/routers/{router}/remove_router_interface");
                session.put(Network, &path, &body)?;
            }
        }
        delete(session, &format!("/routers/{router}"))?;
        removed += 1;
    }
    for (kind, path) in [("networks", "networks"), ("security_groups", "security-groups")] {
        let found = session.get(Network, &format!("/{path}?name={NAME}"))?;
        for id in listed(&found, kind) {
            delete(session, &format!("/{path}/{id}"))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Ports let go of a network a moment after their server.
fn delete(session: &Session, path: &str) -> Result<()> {
    let hint = "openstack --os-cloud overcloud port list";
    until(&format!("the removal of {path}"), RELEASE, hint, || {
        Ok(match session.delete(Network, path)? {
            true => Seen::Yes(()),
            false => Seen::NotYet("it is in use".to_owned()),
        })
    })
}
