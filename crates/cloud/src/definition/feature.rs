//! Features: what a cloud has when its file names it, as services that are added to roles.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;

use super::{Definitions, RoleAddition};
use crate::{CloudConfig, nearest::suggestion};

/// A feature: `features/NAME.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// One line for people.
    pub summary: String,
    /// What it adds to which role.
    pub roles: BTreeMap<String, RoleAddition>,
}

/// A cloud wants a feature that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`features`: there is no feature `{name}`: write one of {known}{hint}")]
pub struct UnknownFeature {
    /// What it wants.
    pub name: String,
    /// What there is.
    pub known: String,
    /// The nearest of them.
    pub hint: String,
}

impl Definitions {
    /// These, with the features that a cloud has.
    ///
    /// # Errors
    /// There is no feature of one of the names.
    pub fn with_features(&self, wanted: &[String]) -> Result<Cow<'_, Self>, UnknownFeature> {
        let mut all = Cow::Borrowed(self);
        for name in wanted {
            let feature = self.features.get(name).ok_or_else(|| UnknownFeature {
                name: name.chars().take(80).collect(),
                known: self.features.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
                hint: suggestion(name, self.features.keys().map(String::as_str)),
            })?;
            for (role, addition) in &feature.roles {
                // That there is such a role, the definitions' checks have seen.
                if let Some(role) = all.to_mut().roles.get_mut(role) {
                    role.add(addition.clone());
                }
            }
        }
        Ok(all)
    }

    /// The container images that the machines of a cloud need. What its file says and nobody knows
    /// is left out: the plan tells of that.
    pub fn images_of(&self, config: &CloudConfig) -> BTreeSet<String> {
        let all = self.with_features(&config.features).unwrap_or(Cow::Borrowed(self));
        let roles = config.machines.iter().filter_map(|machine| all.roles.get(&machine.role));
        let services = roles.flat_map(|role| &role.services);
        services.filter_map(|name| all.services.get(name)).map(|s| s.image.clone()).collect()
    }
}
