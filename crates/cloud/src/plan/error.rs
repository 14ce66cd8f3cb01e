//! Why no plan can be made.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use undercloud_model::ErrorKind;

use crate::definition::UnknownFeature;

/// Why no plan can be made: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the sentence above them")]
pub enum PlanError {
    /// A machine that is not enrolled.
    #[error("no machine is called `{name}`: enrol it, or take it out of cloud.toml{hint}")]
    NoSuchMachine { name: String, hint: String },
    /// A site's settings for a machine that does not run the service.
    #[error("{file}: no machine of the cloud called `{machine}` runs {service}{hint}")]
    SettingsNowhere { file: String, machine: String, service: String, hint: String },
    /// A feature that there is not.
    #[error(transparent)]
    NoSuchFeature(#[from] UnknownFeature),
    /// A role that there is not.
    #[error("machine {machine}: there is no role `{role}`: write one of {known}{hint}")]
    NoSuchRole { machine: String, role: String, hint: String, known: String },
    /// No machine, or more than one, runs what a cloud has once.
    #[error("{count} machines run {service}; a cloud has exactly one: change the machines' roles")]
    NotOnce { service: &'static str, count: usize },
    /// A service that another needs runs nowhere.
    #[error("{service} needs {needs}, which no machine runs: add a machine whose role has it")]
    NeedsAbsent { service: String, needs: String },
    /// No service of the cloud is the API that a probe asks.
    #[error(
        "{service} is looked for in the API `{api}`, which no machine runs: add a machine whose role has it"
    )]
    ApiAbsent { service: String, api: String },
    /// A machine is too small.
    #[error(
        "machine {machine} has {has} {unit} of {what}, its role {role} needs {needs}: give it more, or another role"
    )]
    TooSmall {
        machine: String,
        role: String,
        what: &'static str,
        unit: &'static str,
        has: u64,
        needs: u64,
    },
    /// No disk of a machine can be chosen.
    #[error("machine {machine}: {why}: name one with `root_device` in its enrolment file")]
    NoDisk { machine: String, why: String },
    /// It is not known which link of a machine reaches a network.
    #[error(
        "machine {machine}: no link to the {network} network is known: name its card in a [[link]] of cloud.toml, or write its MAC address as `{network}` in [machine.nics]"
    )]
    NoLink { machine: String, network: String },
    /// A card that the machine does not have.
    #[error("machine {machine}: a [[link]] names the card `{pattern}`, and it has {cards}")]
    NoCard { machine: String, pattern: String, cards: String },
    /// Several cards where one is meant.
    #[error(
        "machine {machine}: the [[link]] for {networks} means {cards}: name one of them, or make a `bond` of them"
    )]
    ManyCards { machine: String, networks: String, cards: String },
    /// A card with two users.
    #[error(
        "machine {machine}: the card {card} is named for {user} and is for {other} already: choose another"
    )]
    CardTaken { machine: String, card: String, user: String, other: String },
    /// A network on two links.
    #[error("machine {machine}: two [[link]]s carry the {network} network: take it out of one")]
    TwoLinks { machine: String, network: String },
    /// A role that there is not, in a network or a link.
    #[error("cloud.toml: `{key}`: there is no role `{role}`: write one of {known}{hint}")]
    NoRoleOf { key: String, role: String, hint: String, known: String },
    /// A network with a purpose, which a machine that needs it is not in.
    #[error(
        "machine {machine}: {service} listens on the {purpose} network, network.{network}, which is not for its role: add the role to its `roles`"
    )]
    NotInNetwork { machine: String, service: String, purpose: String, network: String },
    /// A network has no address left.
    #[error(
        "machine {machine}: the {network} network has no free address from {first} on: lower `first_address` or widen `cidr`"
    )]
    NoAddress { machine: String, network: String, first: Ipv4Addr },
    /// Two machines would have one address.
    #[error("machines {machine} and {other} would both have {address}: set one in cloud.toml")]
    AddressTaken { machine: String, other: String, address: Ipv4Addr },
    /// The tunnels' own network would be somebody else's too.
    #[error(
        "machine {machine}: its kernel has no openvswitch, and tunnels without it need {space} for themselves and an internal network of at most that size: choose other `cidr`s in cloud.toml, or load the module on the machine's host and inspect the machine again"
    )]
    NoTunnels { machine: String, space: Ipv4Net },
    /// An image that was not built.
    #[error(
        "the container image `{image}`, which {service} needs, is not there: run `undercloud container build --cloud FILE` with the file of this cloud"
    )]
    NoImage { image: String, service: String },
    /// Keystone's address cannot be said.
    #[error("services/keystone.toml: there is no port `keystone`: add it to [[ports]]")]
    NoKeystonePort,
    /// A port that cannot be offered, or is on a network that the machine is not in.
    #[error(
        "machine {machine}: {service} listens on the public network, which its role is not in: add `public` to the role's networks"
    )]
    NoPublicNetwork { machine: String, service: String },
    /// A template cannot be rendered.
    #[error("{service}: {file}{}: {problem}", line.map(|l| format!(" line {l}")).unwrap_or_default())]
    Template { service: String, file: String, line: Option<usize>, problem: String },
    /// A secret where everybody sees it.
    #[error(
        "{step}: `{text}` would show a secret: secrets go into files and the environment of bootstrap commands only"
    )]
    MisplacedSecret { step: String, text: String },
    /// What is left of a reference that a template computed with.
    #[error(
        "{step}: a template made `{text}` of a secret: it can place a secret, not compute with it"
    )]
    Reference { step: String, text: String },
    /// Steps that wait for each other.
    #[error(
        "these steps wait for each other: {steps}; look at `needs`, `after` and the `listed` probes of their services"
    )]
    Cycle { steps: String },
}

impl PlanError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchMachine { .. } => ErrorKind::NotFound,
            Self::NoImage { .. } => ErrorKind::Unavailable,
            Self::SettingsNowhere { .. }
            | Self::NoSuchFeature(_)
            | Self::NoSuchRole { .. }
            | Self::NotOnce { .. }
            | Self::NeedsAbsent { .. }
            | Self::ApiAbsent { .. }
            | Self::TooSmall { .. }
            | Self::NoDisk { .. }
            | Self::NoLink { .. }
            | Self::NoCard { .. }
            | Self::ManyCards { .. }
            | Self::CardTaken { .. }
            | Self::TwoLinks { .. }
            | Self::NoRoleOf { .. }
            | Self::NotInNetwork { .. }
            | Self::NoAddress { .. }
            | Self::AddressTaken { .. }
            | Self::NoTunnels { .. }
            | Self::NoKeystonePort
            | Self::NoPublicNetwork { .. }
            | Self::Template { .. }
            | Self::MisplacedSecret { .. }
            | Self::Reference { .. }
            | Self::Cycle { .. } => ErrorKind::Invalid,
        }
    }
}
