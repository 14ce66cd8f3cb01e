//! What can happen to a node.

use serde::{Deserialize, Serialize};

use super::{Failure, Verb};
use crate::{PowerState, StepId, agent::Outcome};

/// Something that happened. Each is handled in every state; see the table in this module's tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody asks for something. Was allowed when it was taken; may not be by now.
    Verb {
        /// What.
        request: Verb,
    },
    /// The action of this phase is done.
    ActionDone {
        /// With which result.
        done: Done,
    },
    /// The action of this phase failed for good.
    ActionFailed {
        /// Why.
        failure: Failure,
    },
    /// The machine fetched the last file of its network boot; its agent should call soon.
    RamdiskFetched,
    /// The ramdisk's agent proved who it is.
    AgentHello,
    /// The ramdisk's agent ended a step.
    StepReported {
        /// Which.
        step: StepId,
        /// How.
        outcome: Box<Outcome>,
    },
    /// The installed system's agent called, with the key of this deployment.
    InstalledCalled,
    /// The BMC was asked, by the clock.
    PowerObserved {
        /// What it said.
        power: PowerState,
    },
    /// A boot secret was used a second time, by another boot.
    SecretReused,
    /// Time passed; a deadline may have too.
    Tick,
}

/// The result of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Done {
    /// Power, read back after what was done to it.
    Power {
        /// As it is now.
        power: PowerState,
    },
    /// The boot device is set.
    BootDevice,
    /// The CD is in, or out.
    Media,
    /// The order lies ready for the agent.
    Ordered {
        /// Under this id.
        step: StepId,
    },
}
