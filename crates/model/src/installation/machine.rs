//! One machine of an installation: what to ask it for next. What was asked of it is kept, so that
//! nothing is asked twice, and that what failed since is the answer.

use serde::{Deserialize, Serialize};

use crate::{
    PowerState, UnixMillis,
    node::{LastError, Node, ProvisionState},
};

/// Requests that bring a machine from enrolment to `active`, and some for a second try: more means
/// that it goes in circles.
pub const REQUESTS_MAX: u32 = 12;

/// How far machines are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Their disks are known.
    Inspected,
    /// They run, installed.
    Active,
    /// Those that are installed run; nothing else is asked of any.
    SwitchedOn,
}

/// What an installation asked of a machine in its present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// How often.
    pub requests: u32,
    /// When last: a failure from then on is the answer to it.
    pub at: UnixMillis,
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// [`crate::node::Verb::Manage`].
    Manage,
    /// [`crate::node::Verb::Inspect`].
    Inspect,
    /// [`crate::node::Verb::Provide`].
    Provide,
    /// [`crate::node::Verb::Deploy`].
    Deploy,
    /// [`crate::node::Verb::Undeploy`].
    Undeploy,
    /// [`crate::node::Verb::Power`], on.
    PowerOn,
}

/// What is next with a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something is under way: what comes of it.
    Wait,
    /// To ask it for this.
    Ask(Want),
    /// Nothing: it is where it should be.
    Reached,
    /// Nothing: what was asked of it failed.
    Failed(LastError),
    /// Nothing: it was asked as often as makes sense.
    Circles,
}

/// What is next with `node`, before which `pending` requests lie that the engine has not looked at.
/// What failed before anything was asked is tried again.
pub fn step(node: &Node, pending: u32, asked: Asked, goal: Goal) -> Step {
    if pending > 0 || node.is_busy() {
        return Step::Wait;
    }
    if asked.requests > 0
        && let Some(error) = &node.last_error
        && error.at >= asked.at
    {
        return Step::Failed(error.clone());
    }
    match want(node, goal) {
        None => Step::Reached,
        Some(_) if asked.requests >= REQUESTS_MAX => Step::Circles,
        Some(want) => Step::Ask(want),
    }
}

/// What to ask a settled node for, on the way to the goal.
fn want(node: &Node, goal: Goal) -> Option<Want> {
    use ProvisionState as S;
    if goal == Goal::Inspected && node.inventory.is_some()
        || goal == Goal::SwitchedOn && node.state != S::Active
    {
        return None;
    }
    match node.state {
        S::Enroll => Some(Want::Manage),
        S::InspectFailed => Some(Want::Inspect),
        S::Manageable if node.inventory.is_none() => Some(Want::Inspect),
        _ if goal == Goal::Inspected => None,
        // Not `manage`, which would end what somebody agreed to.
        S::Manageable | S::CleanFailed => Some(Want::Provide),
        S::Available | S::DeployFailed => Some(Want::Deploy),
        S::Error => Some(Want::Undeploy),
        S::Active => match node.power {
            Some(PowerState::Off) => Some(Want::PowerOn),
            Some(PowerState::On) | None => None,
        },
        S::Verifying
        | S::Inspecting
        | S::InspectWait
        | S::Cleaning
        | S::CleanWait
        | S::Deploying
        | S::WaitCallBack
        | S::Deleting => None,
    }
}
