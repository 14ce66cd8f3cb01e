//! `lab.toml`: which machines a lab has and which networks join them.
//!
//! Everything is checked here; a [`LabConfig`] that exists can be built. Errors name the line,
//! the machine or network, the field, and for a misspelt key the nearest one.

mod machines;

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};
use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use undercloud_model::{
    BootMode, NodeName, nearest,
    node::{BootInterface, Driver},
};

use machines::Machines;
pub(crate) use machines::numbered;

/// The lab that is made when nobody asks for another: one controller, one compute machine.
pub const DEFAULT: &str = include_str!("../../../../lab.toml");

const MEMORY_MIB: std::ops::RangeInclusive<u32> = 128..=1_048_576;
const CPUS: std::ops::RangeInclusive<u32> = 1..=64;
const DISK_GIB: std::ops::RangeInclusive<u32> = 1..=4096;
const NICS_MAX: usize = 8;
/// As many as QEMU's command line has places for.
const DISKS_MAX: usize = 8;
/// For each there is a port for its BMC.
pub const MACHINES_MAX: usize = 40;

/// `lab.toml` says something that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or a type that is not known.
    #[error("line {line}: {message}{}", hint.as_ref().map(|h| format!("; did you mean `{h}`?")).unwrap_or_default())]
    Syntax {
        /// Where.
        line: usize,
        /// What.
        message: String,
        /// The nearest key.
        hint: Option<String>,
    },
    /// A value is out of bounds or contradicts another.
    #[error("{subject}: `{field}` {problem}")]
    Value {
        /// The machine or network.
        subject: String,
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// A network's name: short enough to name a bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NetworkName(String);

/// The text does not name a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no network name: write 1 to 12 lower-case letters, digits and hyphens, a letter first"
)]
pub struct ParseNetworkNameError(String);

impl NetworkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = ParseNetworkNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let first = text.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= 12 && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseNetworkNameError(text.chars().take(40).collect()))
    }
}

impl<'de> Deserialize<'de> for NetworkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A lab as a person describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabConfig {
    /// The networks.
    pub networks: Vec<NetworkConfig>,
    /// The machines.
    pub machines: Vec<MachineConfig>,
}

/// One network: a bridge inside the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Its name.
    pub name: NetworkName,
    /// Its addresses. The first one is the daemon's.
    pub cidr: Ipv4Net,
}

impl NetworkConfig {
    /// The daemon's address in this network: the first one.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).wrapping_add(1))
    }
}

/// What a machine is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineKind {
    /// A virtual machine with firmware and a kernel of its own.
    #[default]
    Qemu,
    /// A container on the host's kernel (`undercloud_machine`).
    Container,
}

impl MachineKind {
    /// As `lab.toml` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Container => "container",
        }
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// Its name.
    pub name: NodeName,
    /// What it is made of; without it, what the host is best at.
    pub kind: Option<MachineKind>,
    /// What it is for: TripleO's `profile` capability.
    pub profile: String,
    /// Which firmware starts it.
    pub firmware: BootMode,
    /// Its memory.
    pub memory_mib: u32,
    /// Its CPUs.
    pub cpus: u32,
    /// The sizes of its disks; the system goes to the first.
    pub disks_gib: Vec<u32>,
    /// One NIC for each of these; it boots from the first. Others may be named again: a NIC more.
    pub networks: Vec<NetworkName>,
    /// By which protocol its BMC is driven; every BMC speaks both.
    pub driver: Driver,
    /// How its ramdisk gets to it.
    pub boot_interface: BootInterface,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// For every machine that does not say its own.
    kind: Option<MachineKind>,
    #[serde(default)]
    network: Vec<NetworkConfig>,
    #[serde(default)]
    machine: Vec<Machines>,
}

impl LabConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or says something that cannot be built.
    pub fn read(path: &Utf8Path) -> Result<Self, ConfigError> {
        std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?
            .parse()
    }

    /// Decides for the machines that do not say what they are made of. One that only a virtual
    /// machine can be, is one.
    #[must_use]
    pub fn with_kinds(mut self, kind: impl Fn(&NodeName) -> MachineKind) -> Self {
        for machine in &mut self.machines {
            let by_media = machine.boot_interface == BootInterface::RedfishVirtualMedia;
            let wanted = if by_media { MachineKind::Qemu } else { kind(&machine.name) };
            machine.kind.get_or_insert(wanted);
        }
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (i, network) in self.networks.iter().enumerate() {
            check_network(network, &self.networks[..i])?;
        }
        if self.machines.is_empty() {
            return Err(value("the lab", "machine", "is missing: a lab has at least one"));
        }
        if self.machines.len() > MACHINES_MAX {
            let problem = format!("has {} of them: at most {MACHINES_MAX}", self.machines.len());
            return Err(value("the lab", "machine", problem));
        }
        let mut names = BTreeSet::new();
        for machine in &self.machines {
            let subject = format!("machine {}", machine.name);
            if !names.insert(&machine.name) {
                return Err(value(subject, "name", "is given twice"));
            }
            self.check_machine(machine)?;
        }
        Ok(())
    }

    fn check_machine(&self, machine: &MachineConfig) -> Result<(), ConfigError> {
        let subject = || format!("machine {}", machine.name);
        for (field, range, number) in
            [("memory_mib", MEMORY_MIB, machine.memory_mib), ("cpus", CPUS, machine.cpus)]
        {
            if !range.contains(&number) {
                let (low, high) = (range.start(), range.end());
                let problem = format!("is {number}: it must be between {low} and {high}");
                return Err(value(subject(), field, problem));
            }
        }
        check_disks(subject(), &machine.disks_gib)?;
        if machine.boot_interface == BootInterface::RedfishVirtualMedia
            && machine.driver == Driver::Ipmi
        {
            let problem = "is `redfish-virtual-media`, for which `driver` must not be `ipmi`";
            return Err(value(subject(), "boot_interface", problem));
        }
        if machine.boot_interface == BootInterface::RedfishVirtualMedia
            && machine.kind == Some(MachineKind::Container)
        {
            let problem = "is `redfish-virtual-media`, which a container has no drive for: \
                           write `kind = \"qemu\"`";
            return Err(value(subject(), "boot_interface", problem));
        }
        let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if machine.profile.is_empty() || !machine.profile.bytes().all(legal) {
            let problem = "must be letters, digits, `-` and `_`";
            return Err(value(subject(), "profile", problem));
        }
        if machine.networks.is_empty() || machine.networks.len() > NICS_MAX {
            let problem = format!("must name 1 to {NICS_MAX} networks: the first is booted from");
            return Err(value(subject(), "networks", problem));
        }
        for (i, name) in machine.networks.iter().enumerate() {
            // Two cards in one network are there to be bonded; the first is booted from by itself.
            if i > 0 && machine.networks[0] == *name {
                let problem = format!("names `{name}` twice, and the machine boots from it");
                return Err(value(subject(), "networks", problem));
            }
            if !self.networks.iter().any(|network| network.name == *name) {
                let known = self.networks.iter().map(|n| n.name.as_str());
                let hint = nearest(name.as_str(), known)
                    .first()
                    .map(|known| format!("; did you mean `{known}`?"))
                    .unwrap_or_default();
                let problem = format!("names `{name}`, which is no network of this file{hint}");
                return Err(value(subject(), "networks", problem));
            }
        }
        Ok(())
    }
}

impl Default for LabConfig {
    #[expect(clippy::expect_used, reason = "invariant: a test parses the file that is built in")]
    fn default() -> Self {
        DEFAULT.parse().expect("invariant: the built-in lab.toml is correct")
    }
}

impl FromStr for LabConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw: Raw = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let mut config = Self { networks: raw.network, machines: Vec::new() };
        for machines in raw.machine {
            config.machines.extend(machines.each(raw.kind)?);
        }
        config.check()?;
        Ok(config)
    }
}

fn check_disks(subject: String, disks: &[u32]) -> Result<(), ConfigError> {
    // As it was written.
    let field = if disks.len() == 1 { "disk_gib" } else { "disks_gib" };
    if disks.is_empty() || disks.len() > DISKS_MAX {
        let problem = format!("must have 1 to {DISKS_MAX} sizes: the system goes to the first");
        return Err(value(subject, field, problem));
    }
    let (low, high) = (DISK_GIB.start(), DISK_GIB.end());
    match disks.iter().find(|gib| !DISK_GIB.contains(gib)) {
        None => Ok(()),
        Some(gib) => {
            let problem = format!("is {gib}: it must be between {low} and {high}");
            Err(value(subject, field, problem))
        }
    }
}

fn check_network(network: &NetworkConfig, earlier: &[NetworkConfig]) -> Result<(), ConfigError> {
    let subject = || format!("network {}", network.name);
    let cidr = network.cidr;
    if !(8..=29).contains(&cidr.prefix_len()) {
        return Err(value(subject(), "cidr", "must have a prefix from /8 to /29"));
    }
    if cidr.addr() != cidr.network() {
        let problem = format!("has host bits set: write {}", cidr.trunc());
        return Err(value(subject(), "cidr", problem));
    }
    let first = cidr.network();
    if first.is_loopback() || first.is_multicast() || first.is_unspecified() {
        return Err(value(subject(), "cidr", "is not for hosts"));
    }
    for other in earlier {
        if other.name == network.name {
            return Err(value(subject(), "name", "is given twice"));
        }
        if other.cidr.contains(&cidr) || cidr.contains(&other.cidr) {
            return Err(value(subject(), "cidr", format!("overlaps network {}", other.name)));
        }
    }
    Ok(())
}

fn value(
    subject: impl Into<String>,
    field: &'static str,
    problem: impl Into<String>,
) -> ConfigError {
    ConfigError::Value { subject: subject.into(), field, problem: problem.into() }
}

/// The key meant in serde's ``unknown field `x`, expected one of `a`, `b` ``.
fn key_meant(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    nearest(wrong, quoted).first().copied()
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = error.message().trim().replace('\n', " ");
    let hint = key_meant(&message).map(str::to_owned);
    ConfigError::Syntax { line, message, hint }
}

#[cfg(test)]
mod tests;
