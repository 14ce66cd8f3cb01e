//! Which machine has which address.

use std::{collections::BTreeMap, net::Ipv4Addr};

use undercloud_model::NodeName;

use super::{MachineAddresses, MachineFacts, Network, PlanError};
use crate::{
    CloudConfig,
    config::{MachineConfig, is_host},
};

/// Addresses as they are given out, by machine and network.
pub(super) struct Addresses<'a> {
    config: &'a CloudConfig,
    given: BTreeMap<(NodeName, &'a str), Ipv4Addr>,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(config: &'a CloudConfig) -> Self {
        Self { config, given: BTreeMap::new() }
    }

    /// What the configuration says, or else what the machine has already.
    pub(super) fn fix(
        &mut self,
        machine: &MachineConfig,
        networks: &[&'a str],
        facts: &MachineFacts,
    ) -> Result<(), PlanError> {
        for network in networks {
            let said = machine.said().find(|(_, name, _)| name == network);
            let had = facts.addresses.as_ref().and_then(|had| had.on(network));
            // What it had may be of a network that has changed since, or another's by now.
            let had = had.filter(|address| self.is_free(*address, network));
            let said = said.map(|(_, _, address)| address);
            let Some(address) = said.or(had) else { continue };
            let other = self.given.iter().find(|(_, taken)| **taken == address);
            if let Some(((other, _), _)) = other {
                return Err(PlanError::AddressTaken {
                    machine: machine.name.to_string(),
                    other: other.to_string(),
                    address,
                });
            }
            self.given.insert((machine.name.clone(), network), address);
        }
        Ok(())
    }

    fn is_free(&self, address: Ipv4Addr, name: &str) -> bool {
        let Some(network) = self.config.network(name) else { return false };
        let said = |machine: &MachineConfig| machine.said().any(|(_, _, said)| said == address);
        let floating =
            name == Network::Public.as_str() && self.config.public.floating.contains(address);
        is_host(address, network.cidr)
            && network.gateway != Some(address)
            && !floating
            && !self.given.values().any(|taken| *taken == address)
            && !self.config.machines.iter().any(said)
    }

    /// The first free address, where there is none yet.
    pub(super) fn choose(
        &mut self,
        machine: &MachineConfig,
        networks: &[&'a str],
    ) -> Result<(), PlanError> {
        for name in networks {
            let key = (machine.name.clone(), *name);
            let Some(network) = self.config.network(name) else { continue };
            if self.given.contains_key(&key) {
                continue;
            }
            let first = network.first_address;
            let free = (u32::from(first)..u32::from(network.cidr.broadcast()))
                .map(Ipv4Addr::from)
                .find(|address| self.is_free(*address, name));
            let address = free.ok_or_else(|| no_address(&machine.name, name, first))?;
            self.given.insert(key, address);
        }
        Ok(())
    }

    pub(super) fn of(&self, machine: &NodeName) -> Result<MachineAddresses, PlanError> {
        let own = self.given.iter().filter(|((name, _), _)| name == machine);
        let mut own: BTreeMap<String, Ipv4Addr> =
            own.map(|((_, network), address)| ((*network).to_owned(), *address)).collect();
        let internal = own.remove(Network::Internal.as_str()).ok_or_else(|| {
            no_address(machine, Network::Internal.as_str(), self.config.internal.first_address)
        })?;
        let public = own.remove(Network::Public.as_str());
        Ok(MachineAddresses { internal, public, others: own })
    }
}

fn no_address(machine: &NodeName, network: &str, first: Ipv4Addr) -> PlanError {
    PlanError::NoAddress { machine: machine.to_string(), network: network.to_owned(), first }
}
