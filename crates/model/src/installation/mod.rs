//! A cloud's installation, from enrolled machines to a cloud that was seen to work. Pure: the daemon
//! carries out what a state [wants](Installation::wants), and tells what came of it.
//!
//! ```text
//!  asked ─▶ inspecting ─▶ machines ─▶ installing ─▶ verifying ─▶ verified
//!              │  ▲           ▲           │  └─────▶ installed (nobody wanted it checked)
//!              ▼  │ asked     └───────────┘
//!       waits for approval    a daemon began
//!
//!  every state but the last ones ─▶ failed, with a sentence; or replaced, by another installation
//! ```
//! Each state that something is done in has a deadline; the one that waits says for what. A daemon
//! that begins goes on where the one before it was: what was asked of a machine, and when, is part of
//! the installation, written in one transaction with the request ([`Asked`]).

mod machine;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use machine::{Asked, Goal, REQUESTS_MAX, Step, Want, step};

use crate::{Digest, ErrorKind, NodeName, UnixMillis};

/// Counted up when a kept installation means something else than before.
pub const SCHEMA: i64 = 1;

const MINUTE_MS: i64 = 60_000;
/// For machines to be inspected: they boot once, and an emulated one takes minutes.
const INSPECTING_MS: i64 = 2 * 60 * MINUTE_MS;
/// For machines to be cleaned, written and booted; each order to one has a deadline of its own.
const MACHINES_MS: i64 = 6 * 60 * MINUTE_MS;
/// For all steps on the machines; each has a deadline of its own.
const INSTALLING_MS: i64 = 12 * 60 * MINUTE_MS;
/// For all checks; each has a deadline of its own.
const VERIFYING_MS: i64 = 2 * 60 * MINUTE_MS;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The text of `cloud.toml`.
    pub description: String,
    /// The machines that it names.
    pub machines: Vec<NodeName>,
    /// The name of the image that they are installed with.
    pub image: String,
    /// Public keys for people's ssh, one line each.
    pub ssh_keys: Vec<String>,
    /// How far it goes.
    pub until: Until,
}

/// How far an installation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The cloud is on the machines.
    #[default]
    Installed,
    /// And was seen to work.
    Verified,
}

/// An installation as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Its number, from 1.
    pub number: i64,
    /// Counts its writes; a write that expected another one is refused.
    pub version: i64,
    /// What was asked for.
    pub order: Order,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: UnixMillis,
    /// When that state has failed.
    pub deadline: Option<UnixMillis>,
    /// What was asked of its machines in this state.
    #[serde(default)]
    pub asked: BTreeMap<NodeName, Asked>,
    /// The deployment that its run is of, once that has begun.
    #[serde(default)]
    pub deployment: Option<i64>,
}

/// Where an installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Machines that never were are inspected. Erases nothing, and without it nobody can know what
    /// would be.
    Inspecting,
    /// The plan erases disks that nobody agreed to: somebody has to, or to ask for something else.
    WaitsForApproval {
        /// Of the plan that a person agrees to.
        plan: Digest,
    },
    /// Machines are brought to `active`, and switched on.
    Machines,
    /// The plan's steps are done on them.
    Installing,
    /// The cloud is used as its users will.
    Verifying,
    /// The cloud is installed, and nobody wanted it checked.
    Installed,
    /// The cloud was seen to work.
    Verified,
    /// It ended early.
    Failed {
        /// Where.
        during: Stage,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// Another installation was asked for.
    Replaced,
}

/// The part of an installation that something failed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// [`State::Inspecting`], and what was waited for after it.
    Inspecting,
    /// [`State::Machines`].
    Machines,
    /// [`State::Installing`].
    Installing,
    /// [`State::Verifying`].
    Verifying,
}

/// Why an installation ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// One sentence: what failed, on which machine.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// To bring its machines so far.
    MachinesAt(Goal),
    /// To do the plan's steps.
    Run,
    /// To check the cloud.
    Checks,
    /// A person.
    Person,
    /// Nothing: it is over.
    Nothing,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A daemon began, and goes on with it.
    DaemonBegan,
    /// The same was asked for again.
    AskedAgain,
    /// The disks of all machines are known, and the plan with them. With its digest, if it erases
    /// some that nobody agreed to.
    Inspected {
        /// The plan's.
        needs_approval: Option<Digest>,
    },
    /// All machines are `active`, and on.
    MachinesActive,
    /// All steps are done.
    RunDone,
    /// All checks passed.
    ChecksPassed,
    /// What the state wanted failed.
    Failed(Failure),
    /// The state's deadline is over.
    TimeOver,
    /// Another installation was asked for.
    Replaced,
}

/// An event that cannot happen in this state: a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("installation {number} is {state}, where this cannot happen: {event}")]
pub struct Unexpected {
    /// Which.
    pub number: i64,
    /// Its state.
    pub state: &'static str,
    /// What happened.
    pub event: String,
}

impl Installation {
    /// One that was just asked for.
    pub fn new(number: i64, order: Order, now: UnixMillis) -> Self {
        Self {
            number,
            version: 0,
            order,
            state: State::Inspecting,
            since: now,
            deadline: deadline(&State::Inspecting, now),
            asked: BTreeMap::new(),
            deployment: None,
        }
    }

    /// What is to be done next.
    pub const fn wants(&self) -> Wants {
        match self.state {
            State::Inspecting => Wants::MachinesAt(Goal::Inspected),
            State::WaitsForApproval { .. } => Wants::Person,
            State::Machines => Wants::MachinesAt(Goal::Active),
            State::Installing => Wants::Run,
            State::Verifying => Wants::Checks,
            State::Installed | State::Verified | State::Failed { .. } | State::Replaced => {
                Wants::Nothing
            }
        }
    }

    /// Whether nothing follows any more.
    pub const fn is_over(&self) -> bool {
        matches!(self.wants(), Wants::Nothing)
    }

    /// How it stands after `event`.
    ///
    /// # Errors
    /// That cannot happen in its state.
    pub fn on(&self, event: Event, now: UnixMillis) -> Result<Self, Unexpected> {
        use State as S;
        let state = match (&self.state, event) {
            (S::Inspecting, Event::Inspected { needs_approval: Some(plan) }) => {
                S::WaitsForApproval { plan }
            }
            (S::Inspecting, Event::Inspected { needs_approval: None }) => S::Machines,
            (S::WaitsForApproval { .. }, Event::AskedAgain) => S::Inspecting,
            (S::Machines, Event::MachinesActive) => S::Installing,
            (S::Installing, Event::RunDone) => match self.order.until {
                Until::Installed => S::Installed,
                Until::Verified => S::Verifying,
            },
            (S::Verifying, Event::ChecksPassed) => S::Verified,
            // The host may have lost its power, and the machines theirs.
            (S::Installing, Event::DaemonBegan | Event::AskedAgain) => S::Machines,
            (S::WaitsForApproval { .. }, Event::DaemonBegan) => return Ok(self.clone()),
            (state, Event::DaemonBegan | Event::AskedAgain) if !self.is_over() => {
                let deadline = deadline(state, now);
                return Ok(Self { deadline, ..self.clone() });
            }
            (state, Event::Failed(failure)) if let Some(during) = stage(state) => {
                S::Failed { during, failure }
            }
            (state, Event::TimeOver)
                if let Some(during) = stage(state)
                    && self.deadline.is_some() =>
            {
                S::Failed { during, failure: self.time_over(during, now) }
            }
            (_, Event::Replaced) if !self.is_over() => S::Replaced,
            (state, event) => {
                let (number, state) = (self.number, state.word());
                return Err(Unexpected { number, state, event: format!("{event:?}") });
            }
        };
        let deadline = deadline(&state, now);
        Ok(Self { state, since: now, deadline, asked: BTreeMap::new(), ..self.clone() })
    }

    fn time_over(&self, during: Stage, now: UnixMillis) -> Failure {
        let minutes = now.saturating_sub(self.since) / MINUTE_MS;
        let what = match during {
            Stage::Inspecting => "its machines were not inspected",
            Stage::Machines => "its machines did not become active",
            Stage::Installing => "its steps were not done",
            Stage::Verifying => "its checks did not end",
        };
        Failure {
            kind: ErrorKind::Unavailable,
            message: format!("installation {}: {what} within {minutes} min", self.number),
            hint: Some("undercloud status, undercloud events".to_owned()),
        }
    }
}

/// A state's deadline, where something is done in it.
const fn deadline(state: &State, now: UnixMillis) -> Option<UnixMillis> {
    let after = match state {
        State::Inspecting => INSPECTING_MS,
        State::Machines => MACHINES_MS,
        State::Installing => INSTALLING_MS,
        State::Verifying => VERIFYING_MS,
        State::WaitsForApproval { .. }
        | State::Installed
        | State::Verified
        | State::Failed { .. }
        | State::Replaced => return None,
    };
    Some(now.saturating_add(after))
}

/// The part that a state is of; none of one that is over.
const fn stage(state: &State) -> Option<Stage> {
    match state {
        State::Inspecting | State::WaitsForApproval { .. } => Some(Stage::Inspecting),
        State::Machines => Some(Stage::Machines),
        State::Installing => Some(Stage::Installing),
        State::Verifying => Some(Stage::Verifying),
        State::Installed | State::Verified | State::Failed { .. } | State::Replaced => None,
    }
}

impl State {
    /// Its word, for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Inspecting => "inspecting",
            Self::WaitsForApproval { .. } => "waits_for_approval",
            Self::Machines => "machines",
            Self::Installing => "installing",
            Self::Verifying => "verifying",
            Self::Installed => "installed",
            Self::Verified => "verified",
            Self::Failed { .. } => "failed",
            Self::Replaced => "replaced",
        }
    }
}

/// For people.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inspecting => f.write_str("its machines are inspected"),
            Self::WaitsForApproval { plan } => write!(
                f,
                "waits for approval: the plan erases disks of machines that are not the lab's \
                 (undercloud cloud install --approve {plan})"
            ),
            Self::Machines => f.write_str("its machines are installed and started"),
            Self::Installing => f.write_str("the cloud is installed on them"),
            Self::Verifying => f.write_str("the cloud is verified"),
            Self::Installed => f.write_str("the cloud is there"),
            Self::Verified => f.write_str("the cloud works"),
            Self::Failed { failure, .. } => write!(f, "failed: {}", failure.message),
            Self::Replaced => f.write_str("another was asked for"),
        }
    }
}
