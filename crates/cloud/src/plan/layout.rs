//! Who is where: machines with their roles, links and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use undercloud_model::{
    MacAddr, NodeName,
    agent::cloud::{ImageStore, ServiceName},
    inventory::Datapath,
};

use super::{
    MachineAddresses, MachineFacts, Network, PlanError, PlannedMachine, facts::Facts,
    tunnel::Tunnels,
};
use crate::{
    CloudConfig, Definitions,
    config::{MachineConfig, is_host},
    definition::{HAPROXY, KEYSTONE, Role, Service},
    nearest::suggestion,
};

const GIB: u64 = 1 << 30;
/// Of a machine's memory, what firmware and kernel keep and an inventory does not show.
const MEMORY_KEPT_PERCENT: u64 = 8;

/// The machines of the cloud and what is on them.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) definitions: &'a Definitions,
    pub(super) config: &'a CloudConfig,
    pub(super) machines: Vec<Machine<'a>>,
    pub(super) keystone: usize,
    pub(super) keystone_port: u16,
    pub(super) public_address: Ipv4Addr,
    pub(super) emulated: bool,
    pub(super) image_store: Option<ImageStore>,
    /// The tunnels' own network, where the switches forward outside of the kernel.
    pub(super) tunnels: Option<Tunnels>,
}

/// A machine with its role.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) name: &'a NodeName,
    pub(super) role_name: &'a str,
    pub(super) role: &'a Role,
    pub(super) facts: &'a MachineFacts,
    pub(super) internal_mac: MacAddr,
    /// Its link to the public network, if its role has that.
    pub(super) public_mac: Option<MacAddr>,
    pub(super) addresses: MachineAddresses,
    pub(super) services: BTreeMap<&'a ServiceName, &'a Service>,
}

impl Machine<'_> {
    pub(super) fn runs(&self, service: &str) -> bool {
        self.services.keys().any(|name| name.as_str() == service)
    }

    pub(super) fn images(&self) -> BTreeSet<&str> {
        self.services.values().map(|service| service.image.as_str()).collect()
    }

    pub(super) fn planned(&self) -> PlannedMachine {
        PlannedMachine {
            name: self.name.clone(),
            node: self.facts.node,
            role: self.role_name.to_owned(),
            addresses: self.addresses,
            provisioning_address: self.facts.provisioning_address,
            services: self.services.keys().map(|name| (*name).clone()).collect(),
            images: self.images().into_iter().map(str::to_owned).collect(),
            memory_mib: self.facts.memory_mib,
            install: !self.facts.active,
            disk: self.facts.disk.clone().filter(|_| !self.facts.active),
            disks: self.facts.disks.clone(),
        }
    }
}

impl<'a> Layout<'a> {
    /// What a site sets for one machine is for a machine that runs the service.
    pub(super) fn settings_have_a_place(&self) -> Result<(), PlanError> {
        for settings in self.definitions.settings() {
            let Some(only) = &settings.machine else { continue };
            let running = || self.that_run(&settings.service).map(|machine| machine.name);
            if running().any(|name| name == only) {
                continue;
            }
            return Err(PlanError::SettingsNowhere {
                file: settings.path(),
                machine: only.to_string(),
                service: settings.service.to_string(),
                hint: suggestion(only.as_str(), running().map(NodeName::as_str)),
            });
        }
        Ok(())
    }

    pub(super) fn new(
        definitions: &'a Definitions,
        config: &'a CloudConfig,
        facts: &'a Facts,
    ) -> Result<Self, PlanError> {
        let mut roles = Vec::new();
        for machine in &config.machines {
            roles.push((machine, role_of(definitions, machine)?, facts_of(facts, machine)?));
        }
        let runs = |role: &Role, name: &str| role.services.iter().any(|s| s.as_str() == name);
        for service in [KEYSTONE, HAPROXY] {
            let count = roles.iter().filter(|(_, role, _)| runs(role, service)).count();
            if count != 1 {
                return Err(PlanError::NotOnce { service, count });
            }
        }
        // The machine that every other talks to has the first address.
        let mut addresses = Addresses::new(config);
        let (first, others): (Vec<_>, Vec<_>) =
            roles.iter().partition(|(_, role, _)| runs(role, KEYSTONE));
        let rows: Vec<_> = first.into_iter().chain(others).collect();
        for (machine, role, facts) in &rows {
            addresses.fix(machine, role, facts)?;
        }
        for (machine, role, _) in &rows {
            addresses.choose(machine, role)?;
        }
        let machines = roles
            .into_iter()
            .map(|(machine, role, facts)| {
                Machine::new(definitions, machine, role, facts, &addresses)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::around(definitions, config, machines, facts)
    }

    fn around(
        definitions: &'a Definitions,
        config: &'a CloudConfig,
        machines: Vec<Machine<'a>>,
        facts: &Facts,
    ) -> Result<Self, PlanError> {
        let keystone = machines
            .iter()
            .position(|machine| machine.runs(KEYSTONE))
            .ok_or(PlanError::NotOnce { service: KEYSTONE, count: 0 })?;
        let haproxy = machines
            .iter()
            .find(|machine| machine.runs(HAPROXY))
            .ok_or(PlanError::NotOnce { service: HAPROXY, count: 0 })?;
        let public_address = haproxy.addresses.public.ok_or(PlanError::NoPublicNetwork {
            machine: haproxy.name.to_string(),
            service: HAPROXY.to_owned(),
        })?;
        // One kind for all: a switch of the one kind has no way to the tunnels of the other.
        let userspace = machines.iter().find(|m| m.facts.datapath == Datapath::Userspace);
        let tunnels = userspace.map(|machine| Tunnels::new(machine.name, config)).transpose()?;
        let ports = definitions.services().values().flat_map(|service| &service.ports);
        let keystone_port = ports
            .clone()
            .find(|port| port.name == KEYSTONE)
            .ok_or(PlanError::NoKeystonePort)?
            .number
            .get();
        Ok(Self {
            definitions,
            config,
            machines,
            keystone,
            keystone_port,
            public_address,
            emulated: facts.emulated,
            image_store: facts.image_store.clone(),
            tunnels,
        })
    }

    /// What public URLs hold: the name, if there is one that users resolve, or the address.
    pub(super) fn public_host(&self) -> String {
        let host = self.config.public.host.clone();
        host.unwrap_or_else(|| self.public_address.to_string())
    }

    pub(super) fn keystone(&self) -> &Machine<'a> {
        &self.machines[self.keystone]
    }

    /// The machines that run the service.
    pub(super) fn that_run(&self, service: &ServiceName) -> impl Iterator<Item = &Machine<'a>> {
        self.machines.iter().filter(|machine| machine.services.contains_key(service))
    }

    /// Each service of the cloud once, with the first machine that runs it.
    pub(super) fn services(&self) -> BTreeMap<&'a ServiceName, (&'a Service, &Machine<'a>)> {
        let mut all = BTreeMap::new();
        for machine in &self.machines {
            for (name, service) in &machine.services {
                all.entry(*name).or_insert((*service, machine));
            }
        }
        all
    }
}

fn role_of<'a>(
    definitions: &'a Definitions,
    machine: &MachineConfig,
) -> Result<&'a Role, PlanError> {
    let known = || definitions.roles().keys().map(String::as_str);
    definitions.roles().get(&machine.role).ok_or_else(|| PlanError::NoSuchRole {
        machine: machine.name.to_string(),
        role: machine.role.clone(),
        hint: suggestion(&machine.role, known()),
        known: known().collect::<Vec<_>>().join(", "),
    })
}

fn facts_of<'a>(facts: &'a Facts, machine: &MachineConfig) -> Result<&'a MachineFacts, PlanError> {
    facts.machines.get(&machine.name).ok_or_else(|| PlanError::NoSuchMachine {
        name: machine.name.to_string(),
        hint: suggestion(machine.name.as_str(), facts.machines.keys().map(NodeName::as_str)),
    })
}

impl<'a> Machine<'a> {
    fn new(
        definitions: &'a Definitions,
        config: &'a MachineConfig,
        role: &'a Role,
        facts: &'a MachineFacts,
        addresses: &Addresses<'_>,
    ) -> Result<Self, PlanError> {
        let link = |network, said: Option<MacAddr>| {
            said.or(facts.nics.get(&network).copied()).ok_or_else(|| PlanError::NoLink {
                machine: config.name.to_string(),
                network: network.to_string(),
            })
        };
        if let Some(why) = facts.no_disk.clone().filter(|_| !facts.active) {
            return Err(PlanError::NoDisk { machine: config.name.to_string(), why });
        }
        large_enough(config, role, facts)?;
        let public_mac = if role.machine.networks.contains(&Network::Public) {
            Some(link(Network::Public, config.nics.public)?)
        } else {
            None
        };
        let services =
            role.services.iter().filter_map(|name| definitions.services().get_key_value(name));
        Ok(Self {
            name: &config.name,
            role_name: &config.role,
            role,
            facts,
            internal_mac: link(Network::Internal, config.nics.internal)?,
            public_mac,
            addresses: addresses.of(&config.name)?,
            services: services.collect(),
        })
    }
}

fn large_enough(
    config: &MachineConfig,
    role: &Role,
    facts: &MachineFacts,
) -> Result<(), PlanError> {
    let disk_gib = facts.disk.as_ref().map(|disk| disk.size_bytes / GIB);
    let rows = [
        ("memory", "MiB", facts.memory_mib, role.machine.memory_mib_min, MEMORY_KEPT_PERCENT),
        ("disk", "GiB", disk_gib, role.machine.disk_gib_min, 0),
    ];
    for (what, unit, has, needs, kept_percent) in rows {
        let visible = needs - needs / 100 * kept_percent;
        if let Some(has) = has
            && has < visible
        {
            return Err(PlanError::TooSmall {
                machine: config.name.to_string(),
                role: config.role.clone(),
                what,
                unit,
                has,
                needs,
            });
        }
    }
    Ok(())
}

/// Addresses as they are given out.
struct Addresses<'a> {
    config: &'a CloudConfig,
    given: BTreeMap<(NodeName, Network), Ipv4Addr>,
}

impl<'a> Addresses<'a> {
    fn new(config: &'a CloudConfig) -> Self {
        Self { config, given: BTreeMap::new() }
    }

    fn cidr(&self, network: Network) -> Ipv4Net {
        match network {
            Network::Internal => self.config.internal.cidr,
            Network::Public => self.config.public.cidr,
        }
    }

    /// What the configuration says, or else what the machine has already.
    fn fix(
        &mut self,
        machine: &MachineConfig,
        role: &Role,
        facts: &MachineFacts,
    ) -> Result<(), PlanError> {
        let had = facts.addresses;
        self.fix_one(
            machine,
            Network::Internal,
            machine.internal_address,
            had.map(|a| a.internal),
        )?;
        if role.machine.networks.contains(&Network::Public) {
            let had = had.and_then(|a| a.public);
            self.fix_one(machine, Network::Public, machine.public_address, had)?;
        }
        Ok(())
    }

    fn fix_one(
        &mut self,
        machine: &MachineConfig,
        network: Network,
        said: Option<Ipv4Addr>,
        had: Option<Ipv4Addr>,
    ) -> Result<(), PlanError> {
        // What it had may be of a network that has changed since, or another's by now.
        let had = had.filter(|address| self.is_free(*address, network));
        let Some(address) = said.or(had) else { return Ok(()) };
        let other = self.given.iter().find(|(_, taken)| **taken == address);
        if let Some(((other, _), _)) = other {
            return Err(PlanError::AddressTaken {
                machine: machine.name.to_string(),
                other: other.to_string(),
                address,
            });
        }
        self.given.insert((machine.name.clone(), network), address);
        Ok(())
    }

    fn is_free(&self, address: Ipv4Addr, network: Network) -> bool {
        let public = &self.config.public;
        let said = |m: &MachineConfig| [m.internal_address, m.public_address];
        is_host(address, self.cidr(network))
            && address != public.gateway
            && !public.floating.contains(address)
            && !self.given.values().any(|taken| *taken == address)
            && !self.config.machines.iter().any(|m| said(m).contains(&Some(address)))
    }

    /// The first free address, where there is none yet.
    fn choose(&mut self, machine: &MachineConfig, role: &Role) -> Result<(), PlanError> {
        let public = role.machine.networks.contains(&Network::Public);
        let networks = [Network::Internal].into_iter().chain(public.then_some(Network::Public));
        for network in networks {
            let key = (machine.name.clone(), network);
            if self.given.contains_key(&key) {
                continue;
            }
            let first = match network {
                Network::Internal => self.config.internal.first_address,
                Network::Public => self.config.public.first_address,
            };
            let last = self.cidr(network).broadcast();
            let free = (u32::from(first)..u32::from(last))
                .map(Ipv4Addr::from)
                .find(|address| self.is_free(*address, network));
            let address = free.ok_or_else(|| PlanError::NoAddress {
                machine: machine.name.to_string(),
                network: network.to_string(),
                first,
            })?;
            self.given.insert(key, address);
        }
        Ok(())
    }

    fn of(&self, machine: &NodeName) -> Result<MachineAddresses, PlanError> {
        let given = |network| self.given.get(&(machine.clone(), network)).copied();
        let internal = given(Network::Internal).ok_or_else(|| PlanError::NoAddress {
            machine: machine.to_string(),
            network: Network::Internal.to_string(),
            first: self.config.internal.first_address,
        })?;
        Ok(MachineAddresses { internal, public: given(Network::Public) })
    }
}
