//! The timeline's events: all that can happen, each with its text, and of whom and why it is told.
//!
//! A text is rendered here and nowhere else, once, when the event is written: what was said stays
//! as it was said. The parts of it are kept beside it, for programs.

mod agent;
mod cloud;
mod daemon;
mod health;
mod machine;
mod request;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    agent::{AgentCall, Attempt, Netboot},
    cloud::{RunNews, RunStep},
    daemon::Part,
    health::HealthNews,
    machine::{BootsFrom, Change, Deed, PowerNews, RecordNews},
    request::Asked,
};
use crate::node::FailureKind;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Happening {
    /// Somebody asked for something.
    Request(Asked),
    /// A node's record was made, changed or removed.
    Record(RecordNews),
    /// A node went from one state to another.
    State(Change),
    /// Something was done to a machine.
    Action(Deed),
    /// A machine's power was seen to change.
    Power(PowerNews),
    /// A machine's network boot.
    Netboot(Netboot),
    /// An agent called or reported.
    Agent(AgentCall),
    /// Somebody tried what is not theirs.
    Security(Attempt),
    /// What was asked for failed.
    Failure(Failed),
    /// A part of the daemon does not work, or does again.
    Daemon(Part),
    /// A cloud's installation.
    Cloud(RunNews),
    /// An installed cloud.
    Health(HealthNews),
}

/// A machine's failure. Its sentence is made by the node that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "failed")]
pub struct Failed {
    /// What kind.
    pub kind: FailureKind,
    /// What failed, the likely cause, what to do.
    pub sentence: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Somebody asked for something.
    Request,
    /// A node's record was made, changed or removed.
    Node,
    /// A node went from one state to another.
    State,
    /// Something was done to a machine.
    Action,
    /// A machine's power was seen to change.
    Power,
    /// A machine's network boot.
    Netboot,
    /// An agent called or reported.
    Agent,
    /// Somebody tried what is not theirs.
    Security,
    /// Something failed.
    Failure,
    /// A cloud's installation, and how it is afterwards.
    Cloud,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody has to look.
    Error,
}

/// What an event came of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person asked.
    Person,
    /// Something that we did came to its end, well or not.
    Action,
    /// An agent called, or said that it is one.
    Agent,
    /// The machine did it by itself: its firmware, or whoever is on its network.
    Machine,
    /// Its BMC showed it.
    Bmc,
    /// Time passed.
    Clock,
    /// The daemon's own business.
    Daemon,
    /// A rollout of the cloud.
    Rollout,
}

impl Happening {
    /// Of what kind it is.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Request(_) => EventKind::Request,
            Self::Record(_) => EventKind::Node,
            Self::State(_) => EventKind::State,
            Self::Action(_) => EventKind::Action,
            Self::Power(_) => EventKind::Power,
            Self::Netboot(_) => EventKind::Netboot,
            Self::Agent(_) => EventKind::Agent,
            Self::Security(_) | Self::Failure(Failed { kind: FailureKind::SecretReused, .. }) => {
                EventKind::Security
            }
            Self::Failure(_) | Self::Daemon(_) => EventKind::Failure,
            Self::Cloud(_) | Self::Health(_) => EventKind::Cloud,
        }
    }

    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::State(_) | Self::Action(_) => Severity::Info,
            Self::Security(_) | Self::Failure(_) => Severity::Error,
            Self::Request(asked) => asked.severity(),
            Self::Record(record) => record.severity(),
            Self::Power(news) => news.severity(),
            Self::Netboot(seen) => seen.severity(),
            Self::Agent(call) => call.severity(),
            Self::Daemon(part) => part.severity(),
            Self::Cloud(rollout) => rollout.severity(),
            Self::Health(news) => news.severity(),
        }
    }

    /// What it came of, where nobody says otherwise.
    pub const fn usual_cause(&self) -> Cause {
        match self {
            Self::Request(_) | Self::Record(_) => Cause::Person,
            Self::State(_) | Self::Action(_) | Self::Failure(_) => Cause::Action,
            Self::Power(_) => Cause::Bmc,
            Self::Netboot(_) => Cause::Machine,
            Self::Agent(_) | Self::Security(_) | Self::Health(_) => Cause::Agent,
            Self::Daemon(_) => Cause::Daemon,
            Self::Cloud(_) => Cause::Rollout,
        }
    }

    /// Whether anybody, or anything that is broken, can cause it over and over: the same again soon
    /// is counted, and not written another time. What network boot sees is counted where it is seen.
    pub const fn is_counted(&self) -> bool {
        matches!(
            self,
            Self::Security(Attempt::HelloDenied { .. })
                | Self::Power(PowerNews::Seen { .. } | PowerNews::Lost { .. })
                | Self::Daemon(_)
        )
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) => what.fmt(f),
            Self::Record(what) => what.fmt(f),
            Self::State(what) => what.fmt(f),
            Self::Action(what) => what.fmt(f),
            Self::Power(what) => what.fmt(f),
            Self::Netboot(what) => what.fmt(f),
            Self::Agent(what) => what.fmt(f),
            Self::Security(what) => what.fmt(f),
            Self::Failure(Failed { sentence, .. }) => f.write_str(sentence),
            Self::Daemon(what) => what.fmt(f),
            Self::Cloud(what) => what.fmt(f),
            Self::Health(what) => what.fmt(f),
        }
    }
}

macro_rules! happenings {
    ($($variant:ident($what:ty)),* $(,)?) => {
        $(impl From<$what> for Happening {
            fn from(what: $what) -> Self {
                Self::$variant(what)
            }
        })*
    };
}

happenings!(
    Request(Asked),
    Record(RecordNews),
    State(Change),
    Action(Deed),
    Power(PowerNews),
    Netboot(Netboot),
    Agent(AgentCall),
    Security(Attempt),
    Failure(Failed),
    Daemon(Part),
    Cloud(RunNews),
    Health(HealthNews),
);

#[cfg(test)]
mod tests;
