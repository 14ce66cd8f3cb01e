//! The keys of `services/NAME.toml`. Texts marked *template* are rendered per machine.

use std::collections::BTreeMap;

use serde::Deserialize;
use undercloud_model::agent::cloud::{PortProtocol, Privileges, ServiceName, StopMode};

use super::{ContainerPath, FileMode, HostPath, Network};

/// A service: one container on every machine whose role lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// One line for people.
    pub summary: String,
    /// Its image.
    pub image: String,
    /// Program and arguments, templates.
    pub command: Vec<String>,
    /// Number of the account in the container.
    pub uid: u32,
    /// Variables, templates; not secret.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Services of the same machine that start before.
    #[serde(default)]
    pub after: Vec<ServiceName>,
    /// Services of the cloud that are healthy before this one is started at installation.
    #[serde(default)]
    pub needs: Vec<ServiceName>,
    /// Services that come first when a machine starts and its processors are all wanted: what people
    /// ask, before what works behind it. Those of them with an `http` probe on the same machine count.
    #[serde(default)]
    pub yields_to: Vec<ServiceName>,
    /// Secrets that its templates may read.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Kernel modules, templates; what renders to nothing is left out.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Devices of the machine, templates; what renders to nothing is left out.
    #[serde(default)]
    pub devices: Vec<String>,
    /// What it may do.
    #[serde(default)]
    pub privileges: Privileges,
    /// What ends when it is stopped.
    #[serde(default)]
    pub stop: StopMode,
    /// Its files.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// Where it reads more settings from, after its own file, as oslo.config does: a site's
    /// `config.d/NAME/*.conf` go there.
    pub config_dir: Option<ContainerPath>,
    /// Its directories.
    #[serde(default)]
    pub volumes: Vec<VolumeEntry>,
    /// Its certificates.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Where it listens.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Files that it finds in its directories at its first start.
    #[serde(default)]
    pub seeds: Vec<SeedEntry>,
    /// How to see that it is healthy; without, its unit is active.
    pub health: Option<Health>,
    /// Databases that are its own.
    #[serde(default)]
    pub databases: Vec<Database>,
    /// Commands to run once in the cloud's life.
    #[serde(default)]
    pub bootstrap: Vec<Bootstrap>,
    /// What Keystone must know of it.
    #[serde(default)]
    pub identity: Identity,
    /// What its last words mean, where that is known.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// A cause that is known by what a service says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Part of a line, as the service prints it.
    pub says: String,
    /// Why it says that, as the end of a sentence.
    pub cause: String,
    /// What to do; `MACHINE` is the machine's name.
    pub remedy: String,
}

/// A file of a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// A template below `services/`.
    pub template: Option<String>,
    /// The template's text in its place.
    pub text: Option<String>,
    /// Where the container sees it.
    pub path: ContainerPath,
    /// Its permissions.
    #[serde(default = "file_mode")]
    pub mode: FileMode,
    /// What the template sees as `values`.
    #[serde(default)]
    pub values: toml::Table,
}

/// A directory of the machine in the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeEntry {
    /// On the machine.
    pub host: HostPath,
    /// In the container.
    pub path: ContainerPath,
    /// Its permissions.
    #[serde(default = "volume_mode")]
    pub mode: FileMode,
    /// Its owner; without, the service's account.
    pub uid: Option<u32>,
    /// Mounts made on one side are seen on the other.
    #[serde(default)]
    pub shared: bool,
    /// Whose it is.
    #[serde(default)]
    pub kind: VolumeKind,
}

/// A file that is the service's own from its first start on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedEntry {
    /// On the machine, inside a volume of the service.
    pub host: HostPath,
    /// Its text, a template.
    pub text: String,
    /// Its permissions.
    #[serde(default = "file_mode")]
    pub mode: FileMode,
}

/// Whose a directory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// The service's: made where it is missing.
    #[default]
    Own,
    /// The machine's.
    Existing,
}

const fn file_mode() -> FileMode {
    FileMode::new(0o400)
}

const fn volume_mode() -> FileMode {
    FileMode::new(0o750)
}

/// A certificate of the cloud's CA for the machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Gets `cert.pem`, `cert.pem.key` and `ca.pem`.
    pub directory: ContainerPath,
    /// It carries the cloud's public name and address too.
    #[serde(default)]
    pub public: bool,
}

/// Where a service listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Unique in the cloud.
    pub name: String,
    /// The port, or the first of a range.
    pub number: std::num::NonZeroU16,
    /// The last of a range.
    pub last: Option<std::num::NonZeroU16>,
    /// On whose address.
    pub network: Network,
    /// TCP unless said otherwise.
    #[serde(default)]
    pub protocol: PortProtocol,
    /// HAProxy offers it on the public address.
    pub publish: Option<Publish>,
    /// The number there; without, its own.
    pub published_number: Option<std::num::NonZeroU16>,
}

/// The first and the last number of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; the same for a single port.
    pub last: u16,
}

impl Port {
    /// Its numbers.
    pub fn range(&self) -> PortRange {
        let first = self.number.get();
        PortRange { first, last: self.last.map_or(first, |last| last.get()) }
    }

    /// The number that HAProxy offers it under, if it does.
    pub fn published(&self) -> Option<u16> {
        let Publish::Https = self.publish?;
        Some(self.published_number.unwrap_or(self.number).get())
    }
}

/// How a port is offered to the public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// HTTP with TLS.
    Https,
}

/// How to see that a service is healthy: one of the probes, all templates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// A URL that is answered with 2xx.
    pub http: Option<String>,
    /// `HOST:PORT` that accepts connections.
    pub tcp: Option<String>,
    /// A unix socket of the machine.
    pub unix: Option<String>,
    /// A row of an API's list.
    pub listed: Option<Listed>,
    /// The longest wait at installation.
    pub timeout_s: u32,
}

/// A row of an API's list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// A type of the catalogue.
    pub api: String,
    /// Below its URL.
    pub path: String,
    /// The list in the answer.
    pub list: String,
    /// Which row; texts are templates.
    #[serde(rename = "where")]
    pub matching: BTreeMap<String, serde_json::Value>,
    /// What must be in it; texts are templates.
    pub equal: BTreeMap<String, serde_json::Value>,
    /// Where the same API says when the service reported last.
    pub report: Option<ReportedAt>,
}

/// A row of an API's list that says when a service reported last.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportedAt {
    /// Below the API's URL.
    pub path: String,
    /// The list in the answer.
    pub list: String,
    /// Which row; texts are templates.
    #[serde(rename = "where")]
    pub matching: BTreeMap<String, serde_json::Value>,
    /// What changes with each report.
    pub field: String,
}

/// Databases and the account that has them, in the cloud's database server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The account.
    pub account: String,
    /// A secret's name.
    pub password: String,
    /// The databases, made where they are missing.
    pub names: Vec<String>,
}

/// A command to run once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Unique within the service.
    pub name: String,
    /// Program and arguments, templates.
    pub command: Vec<String>,
    /// Variables, templates; may hold secrets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// What Keystone must know of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its users.
    #[serde(default)]
    pub users: Vec<UserIdentity>,
    /// Its row of the catalogue.
    pub service: Option<ServiceIdentity>,
}

/// A user of a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserIdentity {
    /// Its name.
    pub name: String,
    /// A secret's name.
    pub password: String,
    /// Its project.
    pub project: String,
    /// Its roles there.
    pub roles: Vec<String>,
}

/// A row of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceIdentity {
    /// `compute`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `nova`.
    pub name: String,
    /// The public URL, a template.
    pub public: String,
    /// The internal URL, a template.
    pub internal: String,
}
