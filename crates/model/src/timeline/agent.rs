//! What machines do by themselves: their boots, their agents, and whoever says that they are one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::MacAddr;

/// A machine's network boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Netboot {
    /// From now on it may boot, once.
    BootWindow,
    /// It fetched its ramdisk and no agent called: it boots once more.
    BootsAgain,
    /// The boot servers saw it. The words are theirs: they know the protocols.
    #[serde(rename = "netboot")]
    Seen {
        /// The interface, where it is no machine's.
        mac: Option<MacAddr>,
        /// What they saw.
        said: String,
        /// Whether somebody should look.
        is_warning: bool,
    },
}

impl Netboot {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::BootsAgain | Self::Seen { is_warning: true, .. } => Severity::Warning,
            Self::Seen { .. } | Self::BootWindow => Severity::Info,
        }
    }
}

impl fmt::Display for Netboot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BootWindow => f.write_str("boot window opened"),
            Self::BootsAgain => f.write_str(
                "it fetched kernel and ramdisk and its agent did not call: it boots once more",
            ),
            Self::Seen { mac: Some(mac), said, .. } => write!(f, "{mac}: {said}"),
            Self::Seen { mac: None, said, .. } => f.write_str(said),
        }
    }
}

/// An agent called or reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AgentCall {
    /// The ramdisk's is there.
    Hello,
    /// It did what it was told.
    Done {
        /// What.
        step: String,
    },
    /// It could not.
    CouldNot {
        /// What.
        step: String,
        /// Why not, as it says.
        why: String,
    },
    /// The installed system's is there, after a boot.
    InstalledBooted,
    /// Only root on the machine can have done that.
    OtherSshHostKey,
    /// Somebody put its identity back; the one before is good for nothing any more.
    KeyRenewed,
}

impl AgentCall {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::Hello | Self::Done { .. } | Self::InstalledBooted => Severity::Info,
            Self::OtherSshHostKey | Self::KeyRenewed => Severity::Warning,
            Self::CouldNot { .. } => Severity::Error,
        }
    }
}

impl fmt::Display for AgentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str("the agent said hello"),
            Self::Done { step } => write!(f, "agent: {step} is done"),
            Self::CouldNot { step, why } => write!(f, "agent: {step} failed: {why}"),
            Self::InstalledBooted => f.write_str("the installed system booted and called"),
            Self::KeyRenewed => f.write_str("the installed system's agent gets a new key"),
            Self::OtherSshHostKey => {
                f.write_str("the installed system has another ssh host key than before")
            }
        }
    }
}

/// Somebody tried what is not theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Attempt {
    /// It said hello with a secret that is not good.
    HelloDenied {
        /// What is wrong with it.
        why: String,
    },
    /// The machine asked for its boot after its secret was used: by whom, nobody knows.
    BootAfterSecret,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HelloDenied { why } => write!(f, "an agent's hello was denied: {why}"),
            Self::BootAfterSecret => {
                f.write_str("the machine asked for its boot after its boot secret was used")
            }
        }
    }
}
