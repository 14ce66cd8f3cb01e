//! What the engine is to do for a node, and what a decision looks like.
//!
//! An action done twice is the same as done once: power is read before it is changed and read back
//! after, the boot device is set to a value, an order has an id that its key decides. So the engine
//! may run an action again after a crash without knowing how far it came.

use serde::{Deserialize, Serialize};

use super::{Failure, Node, Phase, ProvisionState};
use crate::{BootDevice, PowerState, UnixMillis, agent::DiskIdentity};

/// Something to do outside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Ask the BMC for the power state.
    ReadPower,
    /// Set what it starts from.
    SetBootDevice {
        /// From where.
        device: BootDevice,
        /// For good, or only the next time.
        persistent: bool,
    },
    /// Have the BMC show it the deploy CD of the open boot window, in place of any other.
    InsertMedia,
    /// Have the BMC take the CD out.
    EjectMedia,
    /// Switch off, and wait until it is off.
    PowerOff,
    /// Ask the operating system to shut down, and wait until it is off.
    SoftOff,
    /// Switch on, and wait until it is on.
    PowerOn,
    /// Put work down for the agent to fetch.
    Order {
        /// What work.
        work: Work,
    },
}

impl Action {
    /// Its name in keys and on the timeline.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ReadPower => "read-power",
            Self::SetBootDevice { .. } => "set-boot-device",
            Self::InsertMedia => "insert-media",
            Self::EjectMedia => "eject-media",
            Self::PowerOff => "power-off",
            Self::SoftOff => "soft-off",
            Self::PowerOn => "power-on",
            Self::Order { .. } => "order",
        }
    }
}

/// Work for a ramdisk's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// [`crate::agent::Step::Inspect`].
    Inspect,
    /// [`crate::agent::Step::WipeDisks`].
    Wipe {
        /// These disks.
        #[serde(default)]
        disks: Vec<DiskIdentity>,
    },
    /// [`crate::agent::Step::WriteImage`] of the node's instance.
    Write {
        /// To this disk.
        disk: DiskIdentity,
    },
}

impl Work {
    /// For people, after "while".
    pub const fn doing(&self) -> &'static str {
        match self {
            Self::Inspect => "taking its inventory",
            Self::Wipe { .. } => "wiping its disks' metadata",
            Self::Write { .. } => "writing its disk",
        }
    }
}

/// A change in another table, in the transaction of the transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// From now to that time this machine may boot the ramdisk and its agent say hello, once.
    OpenBootWindow {
        /// The end.
        until: UnixMillis,
    },
    /// The ramdisk, its window, its session key and its orders are void.
    EndRamdisk,
    /// The installed system's key is void.
    RevokeMachineKey,
    /// The disks that were erased hold nothing now: that is what the approvals are of.
    DisksAreEmpty,
    /// Nobody agrees any more that disks of this machine are erased.
    EndApprovals,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes, for this reason.
    Stay(&'static str),
    /// The node moves on.
    Go(Box<Next>),
    /// What was under way failed; [`super::fail`] says what then.
    Fail(Failure),
}

/// Where a node goes and what that takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The node as it will be.
    pub node: Node,
    /// What to do, in this order. Replaces what was pending.
    pub actions: Vec<Action>,
    /// What else changes in the database.
    pub effects: Vec<Effect>,
}

impl Next {
    /// `node` in `state`, idle, going nowhere.
    pub fn to(node: &Node, state: ProvisionState, now: UnixMillis) -> Self {
        let mut node = node.clone();
        if node.state != state {
            node.state_since = now;
        }
        node.state = state;
        node.phase = Phase::Idle;
        node.deadline = None;
        node.target_power = None;
        node.visit += 1;
        if state.is_stable() {
            node.target = None;
        }
        Self { node, actions: Vec::new(), effects: Vec::new() }
    }

    /// On its way to `target`.
    #[must_use]
    pub fn target(mut self, target: ProvisionState) -> Self {
        self.node.target = Some(target);
        self
    }

    /// At `phase` until `deadline`.
    #[must_use]
    pub fn phase(mut self, phase: Phase, deadline: UnixMillis) -> Self {
        self.node.phase = phase;
        self.node.deadline = Some(deadline);
        self
    }

    /// Doing `action`.
    #[must_use]
    pub fn act(mut self, action: Action) -> Self {
        match action {
            Action::PowerOn => self.node.target_power = Some(PowerState::On),
            Action::PowerOff | Action::SoftOff => self.node.target_power = Some(PowerState::Off),
            Action::ReadPower
            | Action::SetBootDevice { .. }
            | Action::InsertMedia
            | Action::EjectMedia
            | Action::Order { .. } => {}
        }
        self.actions.push(action);
        self
    }

    /// With `effect`.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// With the record changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.node);
        self
    }

    /// As a decision.
    pub fn go(self) -> Step {
        Step::Go(Box::new(self))
    }
}
