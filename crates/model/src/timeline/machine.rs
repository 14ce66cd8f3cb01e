//! What happens to a machine and its record.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::{NodeName, PowerState, node::ProvisionState};

/// A node's record was made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RecordNews {
    /// It is new.
    Enrolled {
        /// Its name.
        name: NodeName,
        /// Where its BMC is.
        bmc: String,
    },
    /// It was changed.
    Changed,
    /// It is gone.
    Removed {
        /// Its name.
        name: NodeName,
    },
    /// Nobody is to touch the machine.
    MaintenanceBegan {
        /// Why.
        reason: Option<String>,
    },
    /// It may be touched again.
    MaintenanceEnded,
    /// The host's clock was set.
    ClockSet {
        /// So much later; less than nothing is earlier.
        by_ms: i64,
    },
}

impl RecordNews {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::ClockSet { .. } => Severity::Warning,
            Self::Enrolled { .. }
            | Self::Changed
            | Self::Removed { .. }
            | Self::MaintenanceBegan { .. }
            | Self::MaintenanceEnded => Severity::Info,
        }
    }
}

impl fmt::Display for RecordNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrolled { name, bmc } => write!(f, "{name} was enrolled, BMC {bmc}"),
            Self::Changed => f.write_str("record changed"),
            Self::Removed { name } => write!(f, "node {name} was removed"),
            Self::MaintenanceBegan { reason: None } => f.write_str("maintenance began"),
            Self::MaintenanceBegan { reason: Some(why) } => write!(f, "maintenance began: {why}"),
            Self::MaintenanceEnded => f.write_str("maintenance ended"),
            Self::ClockSet { by_ms } => {
                let way = if *by_ms < 0 { "back" } else { "forward" };
                let seconds = by_ms.unsigned_abs() / 1000;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                write!(
                    f,
                    "this host's clock was set {way} by {hours} h {minutes} min {} s; what is \
                     waited for moved with it",
                    seconds % 60
                )
            }
        }
    }
}

/// A node went from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "transition")]
pub struct Change {
    /// From this one,
    pub from: ProvisionState,
    /// to this one,
    pub to: ProvisionState,
    /// after so long.
    pub in_state_ms: i64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.from, self.to)
    }
}

/// Something was done to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Deed {
    /// Its BMC was asked for the first time.
    BmcAnswered {
        /// Its power.
        power: PowerState,
        /// How long that took.
        took_ms: i64,
    },
    /// Its power is as it was wanted.
    PowerIs {
        /// On or off.
        power: PowerState,
        /// How long that took.
        took_ms: i64,
    },
    /// What it boots from was set.
    BootDevice {
        /// To this; nothing where a person chose it.
        from: Option<BootsFrom>,
        /// How long that took.
        took_ms: i64,
    },
    /// The deploy CD was put in or taken out.
    DeployCd {
        /// Whether it is in.
        is_in: bool,
        /// How long that took.
        took_ms: i64,
    },
    /// Its agent has an order.
    AgentTold {
        /// What it is to be doing.
        work: String,
        /// How long that took.
        took_ms: i64,
    },
}

/// What a machine boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootsFrom {
    /// The network, once.
    Network,
    /// The deploy CD, once.
    Cd,
    /// Its disk, from now on.
    Disk,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BmcAnswered { power, .. } => {
                write!(f, "its BMC answers: power is {}", on_off(*power))
            }
            Self::PowerIs { power, .. } => write!(f, "power is {}", on_off(*power)),
            Self::BootDevice { from, .. } => f.write_str(match from {
                Some(BootsFrom::Network) => "next boot is from the network",
                Some(BootsFrom::Cd) => "next boot is from CD",
                Some(BootsFrom::Disk) => "boots are from the disk now",
                None => "boot device is set",
            }),
            Self::DeployCd { is_in, .. } => {
                f.write_str(if *is_in { "deploy CD is in" } else { "deploy CD is out" })
            }
            Self::AgentTold { work, .. } => write!(f, "agent is told: {work}"),
        }
    }
}

/// A machine's power was seen to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PowerNews {
    /// It was not known before.
    #[serde(rename = "power_seen")]
    Seen {
        /// On or off.
        power: PowerState,
    },
    /// It is another than before, and we did not do it.
    #[serde(rename = "power_changed")]
    Changed {
        /// On or off.
        power: PowerState,
    },
    /// The BMC does not tell any more.
    #[serde(rename = "power_lost")]
    Lost {
        /// Why not.
        why: String,
    },
}

impl PowerNews {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::Seen { .. } => Severity::Info,
            Self::Changed { .. } | Self::Lost { .. } => Severity::Warning,
        }
    }
}

impl fmt::Display for PowerNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen { power } => write!(f, "power is {}", on_off(*power)),
            Self::Changed { power } => {
                write!(f, "power went {}, and nobody here asked for it", on_off(*power))
            }
            Self::Lost { why } => write!(f, "its power is not known any more: {why}"),
        }
    }
}

const fn on_off(power: PowerState) -> &'static str {
    match power {
        PowerState::On => "on",
        PowerState::Off => "off",
    }
}
