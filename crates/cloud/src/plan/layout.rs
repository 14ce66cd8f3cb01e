//! Who is where: machines with their roles, links and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use undercloud_model::{
    NodeName,
    agent::cloud::{ImageStore, ServiceName},
    inventory::Datapath,
};

use super::{
    MachineAddresses, MachineFacts, Network, PlanError, PlannedMachine, addresses::Addresses,
    facts::Facts, links::Links, tunnel::Tunnels,
};
use crate::{
    CloudConfig, Definitions,
    config::{Addressing, MachineConfig},
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
    pub(super) links: Links,
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
            addresses: self.addresses.clone(),
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
        check_roles(definitions, config)?;
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
            addresses.fix(machine, &networks_of(config, machine, role), facts)?;
        }
        for (machine, role, _) in &rows {
            addresses.choose(machine, &networks_of(config, machine, role))?;
        }
        let machines = roles
            .into_iter()
            .map(|(machine, role, facts)| {
                Machine::new(definitions, config, machine, role, facts, &addresses)
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

    /// The machine's address for a purpose, and the network that it is in: the one that has the purpose,
    /// or the internal one.
    pub(super) fn address_for(
        &self,
        machine: &Machine<'_>,
        purpose: Network,
    ) -> Option<(Ipv4Addr, Addressing)> {
        let name = match purpose {
            Network::Internal | Network::Public => purpose.as_str(),
            _ => self.config.network_for(purpose).unwrap_or(Network::Internal.as_str()),
        };
        Some((machine.addresses.on(name)?, self.config.network(name)?))
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

/// Every role that networks and links name is one.
fn check_roles(definitions: &Definitions, config: &CloudConfig) -> Result<(), PlanError> {
    let networks =
        config.others.iter().map(|(name, n)| (format!("network.{name}.roles"), &n.roles));
    let links = config.links.iter().map(|link| ("link.roles".to_owned(), &link.roles));
    let known = || definitions.roles().keys().map(String::as_str);
    for (key, roles) in networks.chain(links) {
        if let Some(role) = roles.iter().find(|role| !definitions.roles().contains_key(*role)) {
            let (role, hint) = (role.clone(), suggestion(role, known()));
            return Err(PlanError::NoRoleOf {
                key,
                role,
                hint,
                known: known().collect::<Vec<_>>().join(", "),
            });
        }
    }
    Ok(())
}

/// The networks that a machine is in, by name.
fn networks_of<'a>(config: &'a CloudConfig, machine: &MachineConfig, role: &Role) -> Vec<&'a str> {
    let is_in = |name: &str| match config.others.get(name) {
        Some(network) => network.roles.is_empty() || network.roles.contains(&machine.role),
        None => {
            name != Network::Public.as_str() || role.machine.networks.contains(&Network::Public)
        }
    };
    config.networks().map(|(name, _)| name).filter(|name| is_in(name)).collect()
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
        cloud: &'a CloudConfig,
        config: &'a MachineConfig,
        role: &'a Role,
        facts: &'a MachineFacts,
        addresses: &Addresses<'_>,
    ) -> Result<Self, PlanError> {
        if let Some(why) = facts.no_disk.clone().filter(|_| !facts.active) {
            return Err(PlanError::NoDisk { machine: config.name.to_string(), why });
        }
        large_enough(config, role, facts)?;
        let services =
            role.services.iter().filter_map(|name| definitions.services().get_key_value(name));
        Ok(Self {
            name: &config.name,
            role_name: &config.role,
            role,
            facts,
            links: Links::new(cloud, config, facts, &networks_of(cloud, config, role))?,
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
