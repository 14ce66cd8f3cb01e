//! What must hold of a `cloud.toml` before any machine is looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::RangeInclusive,
};

use ipnet::Ipv4Net;
use undercloud_model::NodeName;

use super::{CloudConfig, ConfigError, LinkTemplate, PublicNetwork};
use crate::{definition::Network, nearest::suggestion};

/// Keystone's bounds for bcrypt.
const HASH_ROUNDS: RangeInclusive<u16> = 4..=16;
/// From what IPv6 asks of every link (RFC 8200, 5) to what switches carry at most.
const MTU: RangeInclusive<u16> = 1280..=9216;

pub(super) fn check(config: &CloudConfig) -> Result<(), ConfigError> {
    check_names(config)?;
    check_numbers(config)?;
    check_networks(config)?;
    check_addresses(config)?;
    check_references(config)?;
    config.links.iter().enumerate().try_for_each(|(index, link)| check_link(config, index, link))
}

fn text(key: &'static str, text: &str, rule: &'static str, good: bool) -> Result<(), ConfigError> {
    let text = text.chars().take(80).collect();
    if good { Ok(()) } else { Err(ConfigError::Text { key, text, rule }) }
}

fn is_label(name: &str) -> bool {
    name.parse::<NodeName>().is_ok()
}

fn check_names(config: &CloudConfig) -> Result<(), ConfigError> {
    let rule = "lower-case letters, digits and hyphens";
    text("name", &config.name, rule, is_label(&config.name))?;
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let region = (1..=64).contains(&config.region.len()) && config.region.bytes().all(word);
    text("region", &config.region, "letters, digits, hyphens and underscores", region)?;
    for name in config.others.keys() {
        text("network", name, rule, is_label(name))?;
    }
    let host = config.public.host.as_deref();
    let is_name = |host: &str| {
        let labels = host.len() <= 253 && host.split('.').all(is_label);
        labels && host.parse::<Ipv4Addr>().is_err()
    };
    let good = host.is_none_or(is_name);
    text("network.public.host", host.unwrap_or_default(), "a host name in lower case", good)?;
    for server in &config.ntp_servers {
        let good = server.parse::<std::net::IpAddr>().is_ok() || is_name(server);
        text("ntp_servers", server, "an address or a host name in lower case", good)?;
    }
    if config.machines.is_empty() {
        return Err(ConfigError::NoMachine);
    }
    let mut names: BTreeSet<&str> = host.into_iter().collect();
    match config.machines.iter().find(|machine| !names.insert(machine.name.as_str())) {
        Some(machine) => Err(ConfigError::TwoMachines(machine.name.to_string())),
        None => Ok(()),
    }
}

fn check_numbers(config: &CloudConfig) -> Result<(), ConfigError> {
    let check = |key: String, value: u16, bounds: RangeInclusive<u16>| {
        let (min, max) = (*bounds.start(), *bounds.end());
        let good = bounds.contains(&value);
        if good { Ok(()) } else { Err(ConfigError::Number { key, value, min, max }) }
    };
    check("password_hash_rounds".to_owned(), config.password_hash_rounds.into(), HASH_ROUNDS)?;
    config
        .networks()
        .try_for_each(|(name, network)| check(format!("network.{name}.mtu"), network.mtu, MTU))
}

/// Each pair of networks is apart, and each purpose is one network's.
fn check_networks(config: &CloudConfig) -> Result<(), ConfigError> {
    let all: Vec<_> = config.networks().collect();
    for (index, (name, network)) in all.iter().enumerate() {
        for (other, before) in &all[..index] {
            let (name, other) = ((*name).to_owned(), (*other).to_owned());
            let (cidr, with) = (network.cidr, before.cidr);
            if cidr.contains(&with.network()) || with.contains(&cidr.network()) {
                // The earlier one first, as a person reads the file.
                return Err(ConfigError::Overlap {
                    name: other,
                    cidr: with,
                    other: name,
                    with: cidr,
                });
            }
            if let Some(vlan) = network.vlan
                && before.vlan == Some(vlan)
            {
                return Err(ConfigError::OneVlan { name: other, other: name, vlan });
            }
        }
    }
    let mut taken: BTreeMap<Network, &str> = BTreeMap::new();
    for (name, network) in &config.others {
        for purpose in &network.purposes {
            let why = match purpose {
                Network::Internal | Network::Public => {
                    format!(
                        "is what [network.{purpose}] is for: write tunnel, storage or migration"
                    )
                }
                _ => match taken.insert(*purpose, name) {
                    Some(other) => format!("is network.{other}'s already: choose one of the two"),
                    None => continue,
                },
            };
            let purpose = purpose.to_string();
            return Err(ConfigError::Purpose { name: name.clone(), purpose, why });
        }
    }
    Ok(())
}

fn check_addresses(config: &CloudConfig) -> Result<(), ConfigError> {
    let PublicNetwork { cidr: public, gateway, floating, .. } = &config.public;
    let mut seen = BTreeSet::new();
    for (name, network) in config.networks() {
        host(&format!("network.{name}.first_address"), network.first_address, network.cidr)?;
        if let Some(gateway) = network.gateway {
            host(&format!("network.{name}.gateway"), gateway, network.cidr)?;
            seen.insert(gateway);
        }
    }
    host("network.public.floating.start", floating.start, *public)?;
    host("network.public.floating.end", floating.end, *public)?;
    if floating.end < floating.start {
        return Err(ConfigError::Floating { start: floating.start, end: floating.end });
    }
    let taken = |key: String, address| Err(ConfigError::Taken { key, address });
    if floating.contains(*gateway) {
        return taken("network.public.gateway".to_owned(), *gateway);
    }
    for machine in &config.machines {
        for (key, name, address) in machine.said() {
            let key = format!("{key} of {}", machine.name);
            let network = known(config, &key, name)?;
            host(&key, address, network)?;
            if name == "public" && floating.contains(address) || !seen.insert(address) {
                return taken(key, address);
            }
        }
    }
    Ok(())
}

/// The addresses of the network of this name.
fn known(config: &CloudConfig, key: &str, name: &str) -> Result<Ipv4Net, ConfigError> {
    let names = || config.networks().map(|(name, _)| name);
    config.network(name).map(|network| network.cidr).ok_or_else(|| ConfigError::NoNetwork {
        key: key.to_owned(),
        name: name.chars().take(80).collect(),
        hint: suggestion(name, names()),
        known: names().collect::<Vec<_>>().join(", "),
    })
}

/// What is named beside the networks' own tables.
fn check_references(config: &CloudConfig) -> Result<(), ConfigError> {
    if let Some(name) = &config.default_route {
        known(config, "default_route", name)?;
        if config.network(name).is_none_or(|network| network.gateway.is_none()) {
            return Err(ConfigError::NoGateway { name: name.clone() });
        }
    }
    for link in &config.links {
        for name in &link.networks {
            known(config, "link.networks", name)?;
        }
    }
    Ok(())
}

fn check_link(config: &CloudConfig, index: usize, link: &LinkTemplate) -> Result<(), ConfigError> {
    let problem = || -> Option<String> {
        let mut once = BTreeSet::new();
        if let Some(name) = link.networks.iter().find(|name| !once.insert(*name)) {
            return Some(format!("it carries {name} twice"));
        }
        if link.networks.is_empty() {
            return Some("it carries nothing: name its `networks`".to_owned());
        }
        if link.cards.is_empty() {
            return Some("it has no `cards`: name at least one".to_owned());
        }
        if link.bond.is_none() && link.mode.is_some() {
            return Some(
                "`mode` is a bond's: give it a name with `bond`, or leave it out".to_owned(),
            );
        }
        if link.bond.is_none() && link.cards.len() > 1 {
            return Some("several cards are a bond: give it a name with `bond`".to_owned());
        }
        let is_vlan =
            |name: &str| name.strip_prefix("vlan").is_some_and(|id| id.parse::<u16>().is_ok());
        if let Some(bond) = link.bond.as_ref().filter(|bond| is_vlan(bond.as_str())) {
            return Some(format!("`{bond}` is what a VLAN is called: choose another name"));
        }
        let untagged = |name: &&String| config.network(name).is_some_and(|n| n.vlan.is_none());
        let untagged: Vec<&str> =
            link.networks.iter().filter(untagged).map(String::as_str).collect();
        if untagged.contains(&"public") && untagged.len() > 1 {
            let others = untagged.iter().filter(|name| **name != "public").copied();
            let others = others.collect::<Vec<_>>().join(", ");
            return Some(format!(
                "the public network is bridged to servers and cannot share untagged packets with \
                 {others}: give one of them a `vlan` or a link of its own"
            ));
        }
        let unknown = |name: &&NodeName| !config.machines.iter().any(|m| m.name == **name);
        link.machines.iter().find(unknown).map(|name| {
            let hint = suggestion(name.as_str(), config.machines.iter().map(|m| m.name.as_str()));
            format!("no machine is called `{name}`{hint}")
        })
    };
    match problem() {
        None => Ok(()),
        Some(problem) => {
            let networks = link.networks.join(", ");
            Err(ConfigError::Link { number: index + 1, networks, problem })
        }
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
