//! The plan: every step on every machine, in an order in which they can be done.
//!
//! [`plan()`] is a function of its input. What it gives is stored as JSON for ever, so fields are
//! only added, with a default; it holds references in place of secrets ([`crate::Reference`]).

mod addresses;
mod context;
mod error;
mod facts;
mod layout;
mod links;
mod network;
mod order;
mod service;
mod steps;
mod tunnel;

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use undercloud_model::{
    Digest, NodeId, NodeName,
    agent::cloud::{CloudStep, ServiceName},
    consent::DiskPlan,
};

pub use error::PlanError;
pub use facts::{Card, Disk, Facts, Images, MachineAddresses, MachineFacts};

pub use crate::definition::Network;

use crate::{
    CloudConfig, Definitions, SecretKind, config::FloatingRange, definition::DASHBOARD_PORT,
};

/// The version of a plan's shape, counted up when an older program could misread it. 0 is from before
/// it was counted.
pub const SCHEMA: u32 = 1;

/// A plan that was kept and cannot be carried out by this version.
#[derive(Debug, thiserror::Error)]
pub enum OtherPlan {
    /// It is of a later version.
    #[error("it has version {theirs} of a plan's shape, and this program knows {SCHEMA}")]
    Later {
        /// Its version.
        theirs: u64,
    },
    /// It has another shape.
    #[error("it has another shape than this program's")]
    Shape(#[source] serde_json::Error),
}

/// What is done to install a cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of its shape, [`SCHEMA`]. Plans are kept for ever, and programs change.
    #[serde(default)]
    pub schema: u32,
    /// The cloud as its users see it.
    pub cloud: CloudSummary,
    /// Its machines, in the order of the configuration.
    pub machines: Vec<PlannedMachine>,
    /// What to do; each step comes after those that it needs.
    pub steps: Vec<PlannedStep>,
    /// The secrets that the cloud has.
    pub secrets: BTreeMap<String, SecretKind>,
    /// How long it takes, roughly.
    pub expected_minutes: u32,
}

/// The cloud as its users see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSummary {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The name in public URLs, or the address where there is no name.
    pub public_host: String,
    /// The address of that name.
    pub public_address: Ipv4Addr,
    /// The controller's address between the machines.
    pub internal_address: Ipv4Addr,
    /// Keystone's public URL.
    pub auth_url: String,
    /// Where the cloud is in a browser, if it has that feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// The catalogue, Keystone's own row left out.
    pub endpoints: Vec<Endpoint>,
    /// The network that users come from.
    pub public_network: PublicNetworkSummary,
}

/// A row of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `compute`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `nova`.
    pub name: String,
    /// Its URL for users.
    pub public: String,
    /// Its URL for the cloud's machines.
    pub internal: String,
}

/// The network that users come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicNetworkSummary {
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The router out of it.
    pub gateway: Ipv4Addr,
    /// The first address for servers.
    pub floating_start: Ipv4Addr,
    /// The last address for servers.
    pub floating_end: Ipv4Addr,
}

/// A machine of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMachine {
    /// Its name.
    pub name: NodeName,
    /// Its id.
    pub node: NodeId,
    /// What it is for.
    pub role: String,
    /// Its addresses in the cloud.
    pub addresses: MachineAddresses,
    /// Its address on the provisioning network, if it is known.
    pub provisioning_address: Option<Ipv4Addr>,
    /// What runs on it.
    pub services: Vec<ServiceName>,
    /// The container images that it has.
    pub images: Vec<String>,
    /// Its memory, if it is known.
    pub memory_mib: Option<u64>,
    /// Whether its operating system has to be installed first.
    pub install: bool,
    /// The disk that is erased for that, if it is known.
    pub disk: Option<Disk>,
    /// Every disk of it, with what is on it and what happens to it; nothing before it was inspected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskPlan>,
}

/// A step's key: the same in every plan that has the step. `controller-0/keystone/apply`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepKey(String);

impl StepKey {
    pub(crate) fn new(machine: &NodeName, rest: impl fmt::Display) -> Self {
        Self(format!("{machine}/{rest}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its key.
    pub key: StepKey,
    /// The machine whose agent does it. Another's than the key's where an API is asked.
    pub machine: NodeName,
    /// One line for people.
    pub title: String,
    /// Steps that are done before.
    pub needs: Vec<StepKey>,
    /// How long it takes, roughly, in seconds.
    pub expected_s: u32,
    /// What to do, with references in place of secrets.
    pub step: CloudStep,
}

impl Plan {
    /// A plan that was kept.
    ///
    /// # Errors
    /// Another version of this program made it, with steps that this one cannot do.
    pub fn read(kept: &serde_json::Value) -> Result<Self, OtherPlan> {
        let theirs = kept["schema"].as_u64().unwrap_or_default();
        if theirs > u64::from(SCHEMA) {
            return Err(OtherPlan::Later { theirs });
        }
        Self::deserialize(kept).map_err(OtherPlan::Shape)
    }

    /// The digest of the plan's JSON: equal for equal plans.
    ///
    /// # Errors
    /// None: the plan's types can all be written as JSON. The signature is serde's.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let text = serde_json::to_vec(self)?;
        Ok(Digest::from_bytes(Sha256::digest(&text).into()))
    }

    /// The machine with this name.
    pub fn machine(&self, name: &NodeName) -> Option<&PlannedMachine> {
        self.machines.iter().find(|machine| machine.name == *name)
    }

    /// The step with this key.
    pub fn step(&self, key: &StepKey) -> Option<&PlannedStep> {
        self.steps.iter().find(|step| step.key == *key)
    }
}

/// The steps that make the cloud of `config` out of the machines of `facts`.
///
/// # Errors
/// The first thing that is missing or does not fit, with its remedy.
pub fn plan(
    definitions: &Definitions,
    config: &CloudConfig,
    facts: &Facts,
    images: &Images,
) -> Result<Plan, PlanError> {
    let definitions = &*definitions.with_features(&config.features)?;
    let layout = layout::Layout::new(definitions, config, facts)?;
    layout.settings_have_a_place()?;
    let contexts = context::Contexts::new(&layout);
    let steps = steps::all(&layout, &contexts, images)?;
    let steps = order::sorted(steps)?;
    let machines: Vec<PlannedMachine> =
        layout.machines.iter().map(layout::Machine::planned).collect();
    let expected_minutes = order::expected_minutes(&steps, &machines);
    Ok(Plan {
        schema: SCHEMA,
        cloud: summary(&layout, &contexts)?,
        machines,
        steps,
        secrets: definitions.secrets().clone(),
        expected_minutes,
    })
}

fn summary(
    layout: &layout::Layout<'_>,
    contexts: &context::Contexts,
) -> Result<CloudSummary, PlanError> {
    let config = layout.config;
    let FloatingRange { start, end } = config.public.floating;
    let services = service::identity_services(layout, contexts)?;
    let endpoint = |row: undercloud_model::agent::cloud::IdentityService| Endpoint {
        kind: row.kind,
        name: row.name,
        public: row.public,
        internal: row.internal,
    };
    Ok(CloudSummary {
        name: config.name.clone(),
        region: config.region.clone(),
        public_host: layout.public_host(),
        public_address: layout.public_address,
        internal_address: layout.keystone().addresses.internal,
        auth_url: format!("https://{}:{}/v3", layout.public_host(), layout.keystone_port),
        dashboard: dashboard(layout),
        endpoints: services.into_iter().map(endpoint).collect(),
        public_network: PublicNetworkSummary {
            cidr: config.public.cidr,
            gateway: config.public.gateway,
            floating_start: start,
            floating_end: end,
        },
    })
}

/// The URL of the published port of the dashboard.
fn dashboard(layout: &layout::Layout<'_>) -> Option<String> {
    let services = layout.services();
    let mut ports = services.values().flat_map(|(service, _)| &service.ports);
    let number = ports.find(|port| port.name == DASHBOARD_PORT)?.published()?;
    let host = layout.public_host();
    Some(match number {
        443 => format!("https://{host}/"),
        other => format!("https://{host}:{other}/"),
    })
}

#[cfg(test)]
mod tests;
