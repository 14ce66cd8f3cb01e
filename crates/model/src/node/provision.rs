//! Where a node is in its life: Ironic's `provision_state`, with Ironic's spelling on every wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A provision state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProvisionState {
    /// Known, never talked to.
    #[serde(rename = "enroll")]
    Enroll,
    /// Its BMC is being tried.
    #[serde(rename = "verifying")]
    Verifying,
    /// Its BMC obeys us.
    #[serde(rename = "manageable")]
    Manageable,
    /// On its way to an inventory, and we are to act.
    #[serde(rename = "inspecting")]
    Inspecting,
    /// On its way to an inventory, and its agent is to act.
    #[serde(rename = "inspect wait")]
    InspectWait,
    /// No inventory.
    #[serde(rename = "inspect failed")]
    InspectFailed,
    /// On its way to empty disks, and we are to act.
    #[serde(rename = "cleaning")]
    Cleaning,
    /// On its way to empty disks, and its agent is to act.
    #[serde(rename = "clean wait")]
    CleanWait,
    /// Its disks may hold anything.
    #[serde(rename = "clean failed")]
    CleanFailed,
    /// Clean, and free to be deployed.
    #[serde(rename = "available")]
    Available,
    /// On its way to an operating system, and we are to act.
    #[serde(rename = "deploying")]
    Deploying,
    /// On its way to an operating system, and its agent is to act.
    #[serde(rename = "wait call-back")]
    WaitCallBack,
    /// No operating system, or one that never reported.
    #[serde(rename = "deploy failed")]
    DeployFailed,
    /// Runs the operating system that was asked for.
    #[serde(rename = "active")]
    Active,
    /// Its operating system is being taken away.
    #[serde(rename = "deleting")]
    Deleting,
    /// Its operating system could not be taken away.
    #[serde(rename = "error")]
    Error,
}

/// The text is no provision state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a provision state")]
pub struct ParseStateError(String);

impl ProvisionState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 16] = [
        Self::Enroll,
        Self::Verifying,
        Self::Manageable,
        Self::Inspecting,
        Self::InspectWait,
        Self::InspectFailed,
        Self::Cleaning,
        Self::CleanWait,
        Self::CleanFailed,
        Self::Available,
        Self::Deploying,
        Self::WaitCallBack,
        Self::DeployFailed,
        Self::Active,
        Self::Deleting,
        Self::Error,
    ];

    /// As Ironic spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Verifying => "verifying",
            Self::Manageable => "manageable",
            Self::Inspecting => "inspecting",
            Self::InspectWait => "inspect wait",
            Self::InspectFailed => "inspect failed",
            Self::Cleaning => "cleaning",
            Self::CleanWait => "clean wait",
            Self::CleanFailed => "clean failed",
            Self::Available => "available",
            Self::Deploying => "deploying",
            Self::WaitCallBack => "wait call-back",
            Self::DeployFailed => "deploy failed",
            Self::Active => "active",
            Self::Deleting => "deleting",
            Self::Error => "error",
        }
    }

    /// Whether a node stays here until somebody asks for something.
    pub const fn is_stable(self) -> bool {
        match self {
            Self::Enroll
            | Self::Manageable
            | Self::InspectFailed
            | Self::CleanFailed
            | Self::Available
            | Self::DeployFailed
            | Self::Active
            | Self::Error => true,
            Self::Verifying
            | Self::Inspecting
            | Self::InspectWait
            | Self::Cleaning
            | Self::CleanWait
            | Self::Deploying
            | Self::WaitCallBack
            | Self::Deleting => false,
        }
    }

    /// Whether something that was asked for has failed, and waits for a person.
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::InspectFailed | Self::CleanFailed | Self::DeployFailed | Self::Error)
    }

    /// Where a failure in this state leads. A stable state keeps its node.
    pub const fn on_failure(self) -> Self {
        match self {
            Self::Verifying => Self::Enroll,
            Self::Inspecting | Self::InspectWait => Self::InspectFailed,
            Self::Cleaning | Self::CleanWait => Self::CleanFailed,
            Self::Deploying | Self::WaitCallBack => Self::DeployFailed,
            Self::Deleting => Self::Error,
            Self::Enroll
            | Self::Manageable
            | Self::InspectFailed
            | Self::CleanFailed
            | Self::Available
            | Self::DeployFailed
            | Self::Active
            | Self::Error => self,
        }
    }
}

impl fmt::Display for ProvisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProvisionState {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| ParseStateError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_spelling() {
        for state in ProvisionState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
            assert!(state.on_failure().is_stable(), "{state}");
        }
        assert!("Active".parse::<ProvisionState>().is_err());
    }
}
