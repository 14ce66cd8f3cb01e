//! Does the daemon's steps, one at a time, and remembers how they ended.
//!
//! The same order may come twice: because its report was lost, or because the daemon restarted. One
//! that ended is answered with the same report and not done again. One that was interrupted (the
//! machine lost power) is done from its beginning by the next ramdisk, which remembers nothing.

mod wipe;
mod write;

use std::{collections::VecDeque, time::Duration};

use serde::Deserialize;
use undercloud_model::{
    StepId,
    agent::{Outcome, Report, Step, StepFailure, StepFailureKind, StepResult},
};

use crate::{
    client::{Client, Patience},
    device::failure,
    inspect::inspect,
    log::{Log, one_line},
    sys::Host,
};

/// How many outcomes are remembered.
const REMEMBERED_MAX: usize = 32;

/// Where steps may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The ramdisk: the disks are free to be written.
    Ramdisk,
    /// The installed system: its disk is in use, and no step writes disks.
    Installed,
}

/// An order as it came: its step may be of a kind that this agent does not know.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// The order's id.
    pub id: StepId,
    /// The step, not looked at yet.
    pub step: serde_json::Value,
}

/// Does steps.
#[derive(Debug)]
pub struct Executor {
    host: Host,
    place: Place,
    client: Client,
    log: Log,
    patience: Patience,
    progress_every: Duration,
    done: VecDeque<Report>,
}

impl Executor {
    /// An executor on this host; images come from `client`.
    pub fn new(host: Host, place: Place, client: Client, log: Log) -> Self {
        Self {
            host,
            place,
            client,
            log,
            patience: Patience::default(),
            progress_every: Duration::from_secs(2),
            done: VecDeque::new(),
        }
    }

    /// The same with other bounds on broken streams and another rhythm of progress.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience, progress_every: Duration) -> Self {
        self.patience = patience;
        self.progress_every = progress_every;
        self
    }

    /// Does the order, or repeats its report if it was done.
    pub fn execute(&mut self, order: Order) -> Report {
        if let Some(report) = self.done.iter().find(|r| r.id == order.id) {
            self.log.say(format_args!("step {} was done already, repeating its report", order.id));
            return report.clone();
        }
        // Lines before this step belong to none.
        drop(self.log.take());
        let outcome = match self.step(order.id, order.step) {
            Ok(result) => Outcome::Done(result),
            Err(failure) => {
                self.log.say(format_args!("step {} failed: {}", order.id, failure.message));
                Outcome::Failed(failure)
            }
        };
        let report = Report { id: order.id, outcome, log: self.log.take() };
        self.done.push_back(report.clone());
        if self.done.len() > REMEMBERED_MAX {
            self.done.pop_front();
        }
        report
    }

    fn step(&self, id: StepId, step: serde_json::Value) -> Result<StepResult, StepFailure> {
        let kind = step.get("kind").and_then(|k| k.as_str()).map(one_line).unwrap_or_default();
        // The error's own text is not passed on: it may quote the order, which may hold secrets.
        let step = Step::deserialize(step).map_err(|_| {
            failure(
                StepFailureKind::Unsupported,
                format_args!(
                    "agent {} does not know the step `{kind}` in this form",
                    crate::VERSION
                ),
            )
        })?;
        self.log.say(format_args!("step {id}: {kind}"));
        match (step, self.place) {
            (Step::Inspect, _) => match inspect(&self.host) {
                Ok(inventory) => Ok(StepResult::Inspect(inventory)),
                Err(e) => Err(failure(StepFailureKind::Unsupported, e)),
            },
            (Step::WipeMetadata, Place::Ramdisk) => {
                let disks = wipe::wipe(&self.host, &self.log)?;
                Ok(StepResult::WipeMetadata { disks })
            }
            (Step::WriteImage { image, disk, config_drive }, Place::Ramdisk) => {
                let job = write::Job { id, image, disk, config_drive };
                Ok(StepResult::WriteImage(write::write(self, &job)?))
            }
            (Step::WipeMetadata | Step::WriteImage { .. }, Place::Installed) => Err(failure(
                StepFailureKind::Unsupported,
                format_args!("`{kind}` is done by the ramdisk, not by the installed system"),
            )),
        }
    }
}
