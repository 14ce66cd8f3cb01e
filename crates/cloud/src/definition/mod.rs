//! Services, roles and features as data: the files of `services/`, `roles/` and `features/`.
//!
//! Everything that can be seen without a cloud is checked here, once: unknown keys, names that
//! nothing has, cycles, paths outside the places for them, templates that do not parse. What only
//! a cloud shows (a name that a template uses) is for [`crate::plan()`]. `services/README.md` is
//! the reference of the keys.

mod check;
mod error;
mod feature;
mod network;
mod overlay;
mod place;
mod service;
mod settings;

use std::collections::BTreeMap;

use serde::Deserialize;
use undercloud_model::agent::cloud::ServiceName;

pub use error::DefinitionError;
pub use feature::{Feature, UnknownFeature};
pub use network::Network;
pub use overlay::{DIRECTORIES, Effect, Overlay};
pub use place::{ContainerPath, FileMode, HostPath};
pub use service::{
    Bootstrap, Certificate, Database, Fault, FileEntry, Health, Identity, Listed, Port, PortRange,
    Publish, ReportedAt, SeedEntry, Service, ServiceIdentity, UserIdentity, VolumeEntry,
    VolumeKind,
};
pub use settings::SiteSettings;

use crate::{SecretKind, nearest::suggestion, toml_fault};

mod shipped {
    //! Written by `build.rs`.
    include!(concat!(env!("OUT_DIR"), "/shipped.rs"));
}

/// The service that answers for users, and whose address every other has: [`Definitions`] know it
/// by this name.
pub const KEYSTONE: &str = "keystone";
/// The service that offers published ports on the public address.
pub const HAPROXY: &str = "haproxy";
/// The port under which people find the cloud in a browser, where it has that feature.
pub const DASHBOARD_PORT: &str = "horizon";
/// The file of all secrets.
const SECRETS: &str = "services/secrets.toml";
/// The secret that is the password of the user `admin`.
pub const ADMIN_PASSWORD: &str = "admin_password";

/// Everything that can run in a cloud.
#[derive(Debug, Clone)]
pub struct Definitions {
    services: BTreeMap<ServiceName, Service>,
    roles: BTreeMap<String, Role>,
    features: BTreeMap<String, Feature>,
    secrets: BTreeMap<String, SecretKind>,
    templates: BTreeMap<String, String>,
    settings: Vec<SiteSettings>,
}

/// What a machine is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// One line for people.
    pub summary: String,
    /// What runs on it.
    pub services: Vec<ServiceName>,
    /// What templates see as `role.NAME`.
    #[serde(default)]
    pub settings: toml::Table,
    /// What a machine must have for it.
    #[serde(default)]
    pub machine: RoleMachine,
}

/// What is added to a role: by a site's `roles/NAME.d/FILE.toml`, or by a feature.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleAddition {
    /// What runs on it too.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// What templates see as `role.NAME`.
    #[serde(default)]
    pub settings: toml::Table,
    /// The memory that it needs more.
    #[serde(default)]
    pub memory_mib: u64,
}

impl Role {
    /// The role with what is added.
    fn add(&mut self, addition: RoleAddition) {
        let new = addition.services.into_iter().filter(|service| !self.services.contains(service));
        let new: Vec<ServiceName> = new.collect();
        self.services.extend(new);
        self.settings.extend(addition.settings);
        self.machine.memory_mib_min =
            self.machine.memory_mib_min.saturating_add(addition.memory_mib);
    }
}

/// What a machine must have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleMachine {
    /// Memory.
    #[serde(default)]
    pub memory_mib_min: u64,
    /// The disk that it is installed on.
    #[serde(default)]
    pub disk_gib_min: u64,
    /// Networks on which it has an address. `public` is on a bridge that the switch makes.
    #[serde(default)]
    pub networks: Vec<Network>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    kind: SecretKind,
}

impl Definitions {
    /// Those that this program came with.
    ///
    /// # Errors
    /// Only a changed tree can give one; a test reads the shipped files.
    pub fn shipped() -> Result<Self, DefinitionError> {
        Self::parse(shipped::FILES, shipped::IMAGES)
    }

    /// Those that this program came with, and a site's.
    ///
    /// # Errors
    /// The first fault of the site's files, with file, key and remedy.
    pub fn of_site(overlay: &Overlay) -> Result<Self, DefinitionError> {
        let mut files: BTreeMap<String, &str> =
            shipped::FILES.iter().map(|(path, text)| ((*path).to_owned(), *text)).collect();
        let mut secrets = None;
        for directory in ["services", "roles", "features"] {
            for (path, text) in overlay.below(directory) {
                let path = format!("{directory}/{path}");
                if path == SECRETS {
                    secrets = Some(text);
                } else {
                    files.insert(path, text);
                }
            }
        }
        let mut all: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        all.extend(secrets.map(|text| (SECRETS, text)));
        let mut images: Vec<&str> = shipped::IMAGES.to_vec();
        images.extend(overlay.images());
        let mut definitions = Self::parse(&all, &images)?;
        let known: Vec<&str> = definitions.services.keys().map(ServiceName::as_str).collect();
        definitions.settings =
            settings::read(overlay, |name| definitions.services.get(name), &known)?;
        Ok(definitions)
    }

    /// The files that this program came with: path and text.
    pub const fn shipped_files() -> &'static [(&'static str, &'static str)] {
        shipped::FILES
    }

    /// The images that the shipped services use: directories of `containers/`.
    pub fn shipped_images() -> &'static [&'static str] {
        shipped::IMAGES
    }

    /// Reads files, each a path (`services/keystone.toml`, `services/nova/compute.conf.j2`,
    /// `roles/compute.toml`) and its text; `images` are the images that can be built.
    ///
    /// # Errors
    /// The first fault, with its file, key and remedy.
    pub fn parse(files: &[(&str, &str)], images: &[&str]) -> Result<Self, DefinitionError> {
        let mut all = Self {
            services: BTreeMap::new(),
            roles: BTreeMap::new(),
            features: BTreeMap::new(),
            secrets: BTreeMap::new(),
            templates: BTreeMap::new(),
            settings: Vec::new(),
        };
        for (path, text) in files {
            all.take(path, text)?;
        }
        for (path, text) in files {
            all.add_to_role(path, text)?;
        }
        check::all(&all, images)?;
        Ok(all)
    }

    fn take(&mut self, path: &str, text: &str) -> Result<(), DefinitionError> {
        let toml_error = |fault| DefinitionError::Toml { file: path.to_owned(), fault };
        if path == SECRETS {
            let entries: BTreeMap<String, SecretEntry> =
                toml_fault::parse(text).map_err(toml_error)?;
            for (name, SecretEntry { kind }) in entries {
                if self.secrets.get(&name).is_some_and(|known| *known != kind) {
                    return Err(DefinitionError::OtherSecret { file: path.to_owned(), name });
                }
                self.secrets.insert(name, kind);
            }
        } else if let Some(name) = toml_name(path, "services/") {
            let name = name
                .parse()
                .map_err(|source| DefinitionError::Name { file: path.to_owned(), source })?;
            self.services.insert(name, toml_fault::parse(text).map_err(toml_error)?);
        } else if let Some(name) = toml_name(path, "roles/") {
            self.roles.insert(name.to_owned(), toml_fault::parse(text).map_err(toml_error)?);
        } else if let Some(name) = toml_name(path, "features/") {
            self.features.insert(name.to_owned(), toml_fault::parse(text).map_err(toml_error)?);
        } else if let Some(name) = path.strip_prefix("services/") {
            self.templates.insert(name.to_owned(), (*text).to_owned());
        }
        Ok(())
    }

    /// `roles/NAME.d/FILE.toml`, when all roles are there.
    fn add_to_role(&mut self, path: &str, text: &str) -> Result<(), DefinitionError> {
        let place = path.strip_prefix("roles/").and_then(|rest| rest.split_once(".d/"));
        let Some((name, _)) = place else { return Ok(()) };
        let file = || path.to_owned();
        let addition: RoleAddition = toml_fault::parse(text)
            .map_err(|fault| DefinitionError::Toml { file: file(), fault })?;
        let known = self.roles.keys().map(String::as_str);
        let hint = suggestion(name, known);
        let role = self.roles.get_mut(name).ok_or_else(|| DefinitionError::Unknown {
            file: file(),
            key: "its directory",
            what: "role",
            name: name.to_owned(),
            place: "roles/",
            hint,
        })?;
        role.add(addition);
        Ok(())
    }

    /// What a site sets beside the files that ship.
    pub fn settings(&self) -> &[SiteSettings] {
        &self.settings
    }

    /// The services by name.
    pub fn services(&self) -> &BTreeMap<ServiceName, Service> {
        &self.services
    }

    /// The cause of a service's last lines, if it is a known one: its own faults first, then what
    /// may befall any service.
    pub fn fault(&self, service: &ServiceName, said: &[String]) -> Option<&Fault> {
        let own = self.services.get(service).into_iter();
        let others = self.services.iter().filter(|(name, _)| *name != service).map(|(_, s)| s);
        let mut faults = own.chain(others).flat_map(|service| &service.faults);
        faults.find(|fault| said.iter().any(|line| line.contains(&fault.says)))
    }

    /// The roles by name.
    pub fn roles(&self) -> &BTreeMap<String, Role> {
        &self.roles
    }

    /// The features by name.
    pub fn features(&self) -> &BTreeMap<String, Feature> {
        &self.features
    }

    /// Every secret that a cloud has.
    pub fn secrets(&self) -> &BTreeMap<String, SecretKind> {
        &self.secrets
    }

    /// The templates by path below `services/`.
    pub fn templates(&self) -> &BTreeMap<String, String> {
        &self.templates
    }
}

/// The embedded files, for tests that change one.
#[cfg(test)]
pub(crate) fn shipped_files() -> &'static [(&'static str, &'static str)] {
    shipped::FILES
}

/// `NAME` of `FOLDER/NAME.toml`.
fn toml_name<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_suffix(".toml").filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests;
