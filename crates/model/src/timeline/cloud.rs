//! A cloud's installation.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::{Digest, NodeName};

/// Something of a run of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunNews {
    /// It began.
    RunBegan {
        /// The deployment.
        deployment: i64,
        /// Which of its runs.
        run: i64,
        /// What it is to be like.
        plan: Digest,
    },
    /// It came to its end, and all is as planned.
    RunEnded {
        /// The deployment.
        deployment: i64,
        /// Which of its runs.
        run: i64,
        /// How long it took.
        took_ms: i64,
    },
    /// It ended early.
    RunFailed {
        /// The deployment.
        deployment: i64,
        /// Which of its runs.
        run: i64,
        /// Why.
        why: String,
        /// How long it took.
        took_ms: i64,
    },
    /// A step was given to its machine.
    StepBegan(RunStep),
    /// A step is done.
    StepDone {
        /// Which.
        #[serde(flatten)]
        step: RunStep,
        /// Whether anything had to be changed.
        changed: bool,
        /// What else there is to say.
        note: String,
        /// How long it took.
        took_ms: u64,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        #[serde(flatten)]
        step: RunStep,
        /// Why, as the machine says.
        why: String,
    },
    /// A machine that has to do something is off, or its agent does not call.
    MachineLost {
        /// Which.
        machine: NodeName,
        /// What was seen.
        why: String,
    },
    /// An installation, of which runs are a part, is somewhere else now.
    Installation {
        /// Its number.
        installation: i64,
        /// Where: a word of [`crate::installation::State`].
        state: String,
        /// The same for people.
        text: String,
    },
    /// An installation waits for a person.
    InstallationWaits {
        /// Its number.
        installation: i64,
        /// For what.
        text: String,
    },
    /// An installation ended early.
    InstallationFailed {
        /// Its number.
        installation: i64,
        /// Why.
        why: String,
    },
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// Its key in the plan.
    pub key: String,
    /// On which machine.
    pub machine: NodeName,
    /// For people.
    pub title: String,
}

impl RunNews {
    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::RunBegan { .. }
            | Self::RunEnded { .. }
            | Self::StepBegan(_)
            | Self::StepDone { .. }
            | Self::Installation { .. } => Severity::Info,
            Self::InstallationWaits { .. } => Severity::Warning,
            Self::RunFailed { .. }
            | Self::StepFailed { .. }
            | Self::MachineLost { .. }
            | Self::InstallationFailed { .. } => Severity::Error,
        }
    }
}

impl fmt::Display for RunStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.machine, self.title)
    }
}

impl fmt::Display for RunNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunBegan { deployment, run, plan } => {
                write!(f, "deployment {deployment}, run {run} began, plan {}", plan.short())
            }
            Self::RunEnded { deployment, run, took_ms } => {
                let seconds = took_ms / 1000;
                write!(f, "deployment {deployment}, run {run} is done ({seconds} s)")
            }
            Self::RunFailed { deployment, run, why, took_ms } => {
                let seconds = took_ms / 1000;
                write!(f, "deployment {deployment}, run {run} failed after {seconds} s: {why}")
            }
            Self::StepBegan(step) => write!(f, "{step} begins"),
            Self::StepDone { step, changed, note, took_ms } => {
                let what = if *changed { "done" } else { "as it was" };
                let comma = if note.is_empty() { "" } else { ", " };
                write!(f, "{step}: {what}{comma}{note} ({} s)", took_ms / 1000)
            }
            Self::StepFailed { step, why } => write!(f, "{step} failed: {why}"),
            Self::MachineLost { machine, why } => write!(f, "{machine} is lost: {why}"),
            Self::Installation { installation, text, .. }
            | Self::InstallationWaits { installation, text } => {
                write!(f, "installation {installation}: {text}")
            }
            Self::InstallationFailed { installation, why } => {
                write!(f, "installation {installation} failed: {why}")
            }
        }
    }
}
