//! A `[[machine]]` of `lab.toml` as it is written: one machine, or `count` of them that are alike.

use serde::Deserialize;
use undercloud_model::{
    BootMode, NodeName,
    node::{BootInterface, Driver},
};

use super::{ConfigError, MACHINES_MAX, MachineConfig, MachineKind, NetworkName, value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machines {
    name: NodeName,
    /// With it, even with 1, their names end in `-0`, `-1` and on.
    count: Option<usize>,
    kind: Option<MachineKind>,
    profile: String,
    firmware: BootMode,
    memory_mib: u32,
    cpus: u32,
    disk_gib: Option<u32>,
    disks_gib: Option<Vec<u32>>,
    networks: Vec<NetworkName>,
    #[serde(default)]
    driver: Driver,
    #[serde(default)]
    boot_interface: BootInterface,
}

impl Machines {
    /// The machines that it stands for; `kind` is that of all that do not say theirs.
    pub(super) fn each(self, kind: Option<MachineKind>) -> Result<Vec<MachineConfig>, ConfigError> {
        let subject = || format!("machine {}", self.name);
        let disks_gib = match (self.disk_gib, &self.disks_gib) {
            (Some(gib), None) => vec![gib],
            (None, Some(sizes)) => sizes.clone(),
            (None, None) => {
                let problem = "is missing: write one size, or several as `disks_gib`";
                return Err(value(subject(), "disk_gib", problem));
            }
            (Some(_), Some(_)) => {
                let problem = "is given beside `disks_gib`: write one of them";
                return Err(value(subject(), "disk_gib", problem));
            }
        };
        let machine = |name| MachineConfig {
            name,
            kind: self.kind.or(kind),
            profile: self.profile.clone(),
            firmware: self.firmware,
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            disks_gib: disks_gib.clone(),
            networks: self.networks.clone(),
            driver: self.driver,
            boot_interface: self.boot_interface,
        };
        let Some(count) = self.count else { return Ok(vec![machine(self.name.clone())]) };
        if !(1..=MACHINES_MAX).contains(&count) {
            let problem = format!("is {count}: it must be between 1 and {MACHINES_MAX}");
            return Err(value(subject(), "count", problem));
        }
        let named = |index: usize| {
            numbered(self.name.as_str(), index).ok_or_else(|| {
                let problem = format!("makes a name that is too long: {}-{index}", self.name);
                value(subject(), "count", problem)
            })
        };
        (0..count).map(|index| named(index).map(machine)).collect()
    }
}

/// The name of a machine among those that are alike.
pub(crate) fn numbered(group: &str, index: usize) -> Option<NodeName> {
    format!("{group}-{index}").parse().ok()
}
