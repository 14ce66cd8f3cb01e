//! What can be asked of a node, and when: Ironic's verbs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DeployRequest, Node, ProvisionState as S};
use crate::{BootDevice, ErrorKind, PowerAction, consent::WipeScope};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// Try the BMC; or take a node back from `available` or a failure.
    Manage,
    /// Find out what the machine is made of.
    Inspect,
    /// Wipe disks' metadata and offer the node for deployment.
    Provide {
        /// Of which disks.
        #[serde(default)]
        wipe: WipeScope,
    },
    /// Install an operating system.
    Deploy(Box<DeployRequest>),
    /// Take the operating system away and clean.
    Undeploy,
    /// Give up what is waited for.
    Abort,
    /// Change the power.
    Power {
        /// How.
        action: PowerAction,
    },
    /// Change what it starts from.
    BootDevice {
        /// From where.
        device: BootDevice,
        /// For good, or only the next time.
        persistent: bool,
    },
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow it (Ironic's sentence).
    #[error(
        "The requested action \"{verb}\" can not be performed on node \"{node}\" while it is in \
         state \"{state}\"."
    )]
    State {
        /// Ironic's word for the verb.
        verb: &'static str,
        /// Which node.
        node: crate::NodeId,
        /// Its state.
        state: S,
    },
    /// Something else is under way.
    #[error("Node {node} is busy {doing}; wait for that to end and ask again.")]
    Busy {
        /// Which node.
        node: crate::NodeName,
        /// With what.
        doing: String,
    },
    /// The node is in maintenance.
    #[error("Node {node} is in maintenance; end that first (`undercloud node maintenance unset`).")]
    Maintenance {
        /// Which node.
        node: crate::NodeName,
    },
}

impl Refusal {
    /// What kind of error it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::State { .. } | Self::Maintenance { .. } => ErrorKind::Conflict,
            Self::Busy { .. } => ErrorKind::Busy,
        }
    }
}

impl Verb {
    /// Ironic's word for it.
    pub const fn target(&self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Inspect => "inspect",
            Self::Provide { .. } => "provide",
            Self::Deploy(_) => "active",
            Self::Undeploy => "deleted",
            Self::Abort => "abort",
            Self::Power { action } => match action {
                PowerAction::On => "power on",
                PowerAction::Off => "power off",
                PowerAction::SoftOff => "soft power off",
                PowerAction::Cycle | PowerAction::Reset => "rebooting",
            },
            Self::BootDevice { .. } => "set boot device",
        }
    }

    /// The states in which it can be asked for.
    ///
    /// More than Ironic allows in two places: `provide` in `clean failed` and the power verbs in
    /// every stable state, so that asking again resumes.
    pub const fn states(&self) -> &'static [S] {
        match self {
            Self::Manage => &[S::Enroll, S::Available, S::InspectFailed, S::CleanFailed],
            Self::Inspect => &[S::Manageable, S::InspectFailed],
            Self::Provide { .. } => &[S::Manageable, S::CleanFailed],
            Self::Deploy(_) => &[S::Available, S::DeployFailed, S::Error],
            Self::Undeploy => &[S::Active, S::DeployFailed, S::Error, S::WaitCallBack],
            Self::Abort => &[S::InspectWait, S::CleanWait, S::WaitCallBack],
            Self::Power { .. } | Self::BootDevice { .. } => &[
                S::Enroll,
                S::Manageable,
                S::InspectFailed,
                S::CleanFailed,
                S::Available,
                S::DeployFailed,
                S::Active,
                S::Error,
            ],
        }
    }

    /// Which disks of `node` lose what is on them by it.
    pub fn erases(&self, node: &Node) -> Option<WipeScope> {
        match self {
            Self::Provide { wipe } => Some(node.wiped_by(wipe)),
            Self::Deploy(request) if node.has_written(request) => None,
            Self::Deploy(request) => Some(WipeScope::Root { need_bytes: request.need_bytes() }),
            Self::Undeploy => Some(node.wiped_by_undeploy()),
            Self::Manage
            | Self::Inspect
            | Self::Abort
            | Self::Power { .. }
            | Self::BootDevice { .. } => None,
        }
    }

    /// Whether `node` can be asked for this now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, node: &Node) -> Result<(), Refusal> {
        let verb = self.target();
        if !self.states().contains(&node.state) {
            return Err(match self {
                Self::Power { .. } | Self::BootDevice { .. } => {
                    Refusal::Busy { node: node.name.clone(), doing: node.phase.to_string() }
                }
                _ => Refusal::State { verb, node: node.id, state: node.state },
            });
        }
        if node.state.is_stable() && node.is_busy() {
            return Err(Refusal::Busy { node: node.name.clone(), doing: node.phase.to_string() });
        }
        if node.maintenance.is_some() && matches!(self, Self::Deploy(_)) {
            return Err(Refusal::Maintenance { node: node.name.clone() });
        }
        Ok(())
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy(request) => write!(f, "deploy {}", request.image.name),
            Self::Undeploy => f.write_str("undeploy"),
            Self::BootDevice { device, persistent } => {
                let device = match device {
                    BootDevice::Pxe => "pxe",
                    BootDevice::Disk => "disk",
                    BootDevice::Cdrom => "cdrom",
                    BootDevice::Usb => "usb",
                };
                write!(f, "boot device {device}{}", if *persistent { ", for good" } else { "" })
            }
            Self::Provide { wipe: WipeScope::All } => f.write_str("provide, all disks"),
            Self::Manage
            | Self::Inspect
            | Self::Provide { .. }
            | Self::Abort
            | Self::Power { .. } => f.write_str(self.target()),
        }
    }
}
