//! What inside its state a node is at. A state that Ironic has one word for takes several steps of
//! ours; each is a phase with at most one action under way, so that a crash leaves one thing to
//! look at. Kept in the database with the state.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Work;
use crate::{BootDevice, StepId};

/// What a node is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is under way.
    Idle,
    /// The BMC is asked whether the machine is on.
    ReadPower,
    /// The next boot is set to the network, or to the CD.
    NetworkBoot,
    /// The BMC is shown the deploy CD, within a boot window. The machine is off, so that nothing
    /// that ran on it reads the secret.
    InsertMedia,
    /// The machine is switched off, so that the next boot is ours.
    SwitchOff,
    /// The machine is switched on, within a boot window.
    SwitchOn,
    /// The ramdisk boots; its agent has not said hello.
    AgentBoots,
    /// The agent has said hello, and the CD goes.
    EjectMedia,
    /// Work is being put down for the agent to fetch.
    Ordering {
        /// What work.
        work: Work,
    },
    /// The agent has the order, or will fetch it.
    Ordered {
        /// What work.
        work: Work,
        /// The order.
        step: StepId,
    },
    /// The next boots are set to the disk that was written.
    DiskBoot,
    /// The ramdisk's machine is switched off.
    RestartOff,
    /// The machine is switched on to boot from its disk.
    RestartOn,
    /// The installed system boots; its agent has not called.
    InstalledBoots,
    /// The work is done and the machine is switched off.
    Rest,
    /// Something that a person asked for in a stable state.
    Errand {
        /// What.
        errand: Errand,
    },
}

/// What a person may ask of a machine in a stable state, one BMC action each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// On.
    SwitchOn,
    /// Off at once.
    SwitchOff,
    /// Off by its operating system.
    SoftOff,
    /// The first half of a restart. Off and on are two phases, so that neither happens twice.
    CycleOff,
    /// The second half of a restart.
    CycleOn,
    /// The next boot, or all of them.
    BootDevice {
        /// From where.
        device: BootDevice,
        /// Whether for good.
        persistent: bool,
    },
}

impl Phase {
    /// Whether power that is found off here means that somebody switched the machine off.
    pub const fn needs_power(&self) -> bool {
        match self {
            Self::AgentBoots
            | Self::EjectMedia
            | Self::Ordering { .. }
            | Self::Ordered { .. }
            | Self::InstalledBoots => true,
            Self::Idle
            | Self::ReadPower
            | Self::NetworkBoot
            | Self::InsertMedia
            | Self::SwitchOff
            | Self::SwitchOn
            | Self::DiskBoot
            | Self::RestartOff
            | Self::RestartOn
            | Self::Rest
            | Self::Errand { .. } => false,
        }
    }
}

impl fmt::Display for Phase {
    /// For people, after "while": "waiting for its agent".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::ReadPower => "asking its BMC for the power state",
            Self::NetworkBoot => "setting its next boot to the ramdisk",
            Self::InsertMedia => "having its BMC insert the deploy CD",
            Self::SwitchOff => "switching it off before the ramdisk's boot",
            Self::SwitchOn => "switching it on for the ramdisk's boot",
            Self::AgentBoots => "waiting for the ramdisk's agent",
            Self::EjectMedia => "having its BMC eject the deploy CD",
            Self::Ordering { work } | Self::Ordered { work, .. } => work.doing(),
            Self::DiskBoot => "setting its boots to the disk",
            Self::RestartOff => "switching it off after the write",
            Self::RestartOn => "switching it on to boot from the disk",
            Self::InstalledBoots => "waiting for the installed system",
            Self::Rest => "switching it off",
            Self::Errand { errand } => errand.doing(),
        })
    }
}

impl Errand {
    const fn doing(self) -> &'static str {
        match self {
            Self::SwitchOn => "switching it on",
            Self::SwitchOff => "switching it off",
            Self::SoftOff => "asking its operating system to shut down",
            Self::CycleOff => "switching it off for a restart",
            Self::CycleOn => "switching it on after a restart",
            Self::BootDevice { .. } => "setting its boot device",
        }
    }
}
