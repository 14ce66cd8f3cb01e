//! Which link of a machine reaches which network: cards, bonds of them, and VLANs on both.
//!
//! A `[[link]]` of `cloud.toml` says it where it names the network; else `[machine.nics]`, else the lab,
//! which made the links itself.

use std::collections::BTreeMap;

use undercloud_model::{
    MacAddr,
    agent::link::{Bond, LinkMtu, LinkName, LinkRef, Vlan},
};

use super::{MachineFacts, PlanError, facts::Card};
use crate::{
    CloudConfig,
    config::{Addressing, LinkTemplate, MachineConfig, USUAL_MTU},
};

/// A machine's links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By network; with the address of the card below, of a bond the first one's.
    of: BTreeMap<String, (LinkRef, MacAddr)>,
    pub(super) bonds: Vec<Bond>,
    pub(super) vlans: Vec<Vlan>,
    pub(super) mtus: Vec<LinkMtu>,
}

impl Links {
    /// The links of a machine to its networks.
    pub(super) fn new(
        config: &CloudConfig,
        machine: &MachineConfig,
        facts: &MachineFacts,
        networks: &[&str],
    ) -> Result<Self, PlanError> {
        let mut links = Self::default();
        // What carries each network untagged, or its VLAN.
        let mut carriers: BTreeMap<&str, (LinkRef, MacAddr)> = BTreeMap::new();
        let mut taken: BTreeMap<MacAddr, String> = BTreeMap::new();
        if let Some(mac) = facts.boot_card {
            taken.insert(mac, "the provisioning network".to_owned());
        }
        for template in config.links.iter().filter(|link| applies(link, machine)) {
            let carried: Vec<&String> =
                template.networks.iter().filter(|name| networks.contains(&name.as_str())).collect();
            if carried.is_empty() {
                continue;
            }
            let cards = chosen(machine, facts, template)?;
            let user = match &template.bond {
                Some(bond) => bond.to_string(),
                None => carried.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
            };
            for card in &cards {
                if let Some(other) = taken.insert(card.mac, user.clone()) {
                    return Err(PlanError::CardTaken {
                        machine: machine.name.to_string(),
                        card: card.to_string(),
                        user,
                        other,
                    });
                }
            }
            let first = cards.first().map(|card| card.mac);
            let Some(first) = first else { continue };
            let link = links.carrier(template, &cards, first);
            for name in carried {
                if carriers.insert(name, (link.clone(), first)).is_some() {
                    return Err(PlanError::TwoLinks {
                        machine: machine.name.to_string(),
                        network: name.clone(),
                    });
                }
            }
        }
        for name in networks {
            let known = || machine.nics.of(name).or(facts.nics.get(*name).copied());
            let known = || known().map(|mac| (LinkRef::Card(mac), mac));
            let (carrier, mac) = carriers.get(name).cloned().or_else(known).ok_or_else(|| {
                PlanError::NoLink { machine: machine.name.to_string(), network: (*name).to_owned() }
            })?;
            let Some(network) = config.network(name) else { continue };
            links.add(name, &network, carrier, mac);
        }
        links.find_mtus(config, networks);
        Ok(links)
    }

    /// The link to a network.
    pub(super) fn to(&self, network: &str) -> Option<&LinkRef> {
        self.of.get(network).map(|(link, _)| link)
    }

    /// The address of the card below the link to a network.
    pub(super) fn mac_to(&self, network: &str) -> Option<MacAddr> {
        self.of.get(network).map(|(_, mac)| *mac)
    }

    /// The template's card, or a bond of its cards.
    fn carrier(&mut self, template: &LinkTemplate, cards: &[&Card], first: MacAddr) -> LinkRef {
        let Some(name) = template.bond.clone() else { return LinkRef::Card(first) };
        let members = cards.iter().map(|card| card.mac).collect();
        let mode = template.mode.unwrap_or_default();
        self.bonds.push(Bond { name: name.clone(), mode, members });
        LinkRef::Made(name)
    }

    fn add(&mut self, name: &str, network: &Addressing, carrier: LinkRef, mac: MacAddr) {
        let link = match network.vlan {
            None => carrier,
            Some(id) => {
                self.vlans.push(Vlan { id, on: carrier });
                LinkRef::Made(LinkName::of_vlan(id))
            }
        };
        self.of.insert(name.to_owned(), (link, mac));
    }

    /// A carrier takes the largest packet of all that it carries. Where all is as usual, nothing is
    /// said, and the links stay as they are.
    fn find_mtus(&mut self, config: &CloudConfig, networks: &[&str]) {
        let mut mtus: BTreeMap<LinkRef, u16> = BTreeMap::new();
        for name in networks {
            let Some((network, link)) = config.network(name).zip(self.to(name)) else { continue };
            let below =
                self.vlans.iter().find(|vlan| *link == LinkRef::Made(LinkName::of_vlan(vlan.id)));
            for link in [Some(link), below.map(|vlan| &vlan.on)].into_iter().flatten() {
                let mtu = mtus.entry(link.clone()).or_default();
                *mtu = network.mtu.max(*mtu);
            }
        }
        if mtus.values().any(|mtu| *mtu != USUAL_MTU) {
            self.mtus = mtus.into_iter().map(|(link, bytes)| LinkMtu { link, bytes }).collect();
        }
    }
}

/// Whether a machine has the link.
fn applies(link: &LinkTemplate, machine: &MachineConfig) -> bool {
    link.roles.is_empty() && link.machines.is_empty()
        || link.roles.contains(&machine.role)
        || link.machines.contains(&machine.name)
}

/// The cards that a link names: each pattern means at least one, and all of them one where it is no
/// bond.
fn chosen<'a>(
    machine: &MachineConfig,
    facts: &'a MachineFacts,
    template: &LinkTemplate,
) -> Result<Vec<&'a Card>, PlanError> {
    let mut cards: Vec<&Card> = Vec::new();
    for pattern in &template.cards {
        let mut meant =
            facts.cards.iter().filter(|card| pattern.matches(&card.name, card.mac)).peekable();
        if meant.peek().is_none() {
            return Err(PlanError::NoCard {
                machine: machine.name.to_string(),
                pattern: pattern.to_string(),
                cards: listed(facts.cards.iter()),
            });
        }
        for card in meant {
            if !cards.contains(&card) {
                cards.push(card);
            }
        }
    }
    if template.bond.is_none() && cards.len() > 1 {
        return Err(PlanError::ManyCards {
            machine: machine.name.to_string(),
            networks: template.networks.join(", "),
            cards: listed(cards.into_iter()),
        });
    }
    Ok(cards)
}

fn listed<'a>(cards: impl Iterator<Item = &'a Card>) -> String {
    let cards: Vec<String> = cards.map(Card::to_string).collect();
    if cards.is_empty() { "none that is known: inspect it".to_owned() } else { cards.join(", ") }
}
