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
    /// The state does not allow it.
    #[error("{node} is `{state}`, and cannot {verb} from there")]
    State {
        /// What was asked for, in the command line's word.
        verb: &'static str,
        /// Where that can be asked for.
        states: &'static [S],
        /// Which node.
        node: crate::NodeName,
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
    #[error(
        "Node {node} is in maintenance; end that first (`undercloud node maintenance {node} --unset`)."
    )]
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

    /// What to do about it, if the sentence does not say it.
    pub fn hint(&self) -> Option<String> {
        let Self::State { verb, states, node, state } = self else { return None };
        let can = Verb::words_in(*state).into_iter();
        let can: Vec<String> = can.map(|word| format!("undercloud node {word} {node}")).collect();
        let can = if can.is_empty() { "wait".to_owned() } else { can.join(", or ") };
        let states: Vec<String> = states.iter().map(|state| format!("`{state}`")).collect();
        Some(format!("{can}; {verb} is for a node that is {}", states.join(", ")))
    }
}

const MANAGE: &[S] = &[S::Enroll, S::Available, S::InspectFailed, S::CleanFailed];
const INSPECT: &[S] = &[S::Manageable, S::InspectFailed];
const PROVIDE: &[S] = &[S::Manageable, S::CleanFailed];
const DEPLOY: &[S] = &[S::Available, S::DeployFailed, S::Error];
const UNDEPLOY: &[S] = &[S::Active, S::DeployFailed, S::Error, S::WaitCallBack];
const ABORT: &[S] = &[S::InspectWait, S::CleanWait, S::WaitCallBack];
/// The verbs that lead through a node's life, and where each can be asked for.
const LIFE: &[(&str, &[S])] = &[
    ("manage", MANAGE),
    ("inspect", INSPECT),
    ("provide", PROVIDE),
    ("deploy", DEPLOY),
    ("undeploy", UNDEPLOY),
    ("abort", ABORT),
];

impl Verb {
    /// The key, in the data of an event, of the number of the request that was not taken up.
    pub const NOT_TAKEN: &str = "not_taken";

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
            Self::Manage => MANAGE,
            Self::Inspect => INSPECT,
            Self::Provide { .. } => PROVIDE,
            Self::Deploy(_) => DEPLOY,
            Self::Undeploy => UNDEPLOY,
            Self::Abort => ABORT,
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

    /// The command line's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Inspect => "inspect",
            Self::Provide { .. } => "provide",
            Self::Deploy(_) => "deploy",
            Self::Undeploy => "undeploy",
            Self::Abort => "abort",
            Self::Power { .. } => "power",
            Self::BootDevice { .. } => "boot-device",
        }
    }

    /// The words for the way through a node's life that can be asked for in `state`.
    fn words_in(state: S) -> Vec<&'static str> {
        let mut words = Vec::new();
        for (word, states) in LIFE {
            if states.contains(&state) {
                words.push(*word);
            }
        }
        words
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
        if !self.states().contains(&node.state) {
            return Err(match self {
                Self::Power { .. } | Self::BootDevice { .. } => {
                    Refusal::Busy { node: node.name.clone(), doing: node.phase.to_string() }
                }
                _ => Refusal::State {
                    verb: self.word(),
                    states: self.states(),
                    node: node.name.clone(),
                    state: node.state,
                },
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
