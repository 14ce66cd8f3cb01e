//! Does the daemon's steps and remembers how they ended.
//!
//! The same order may come twice: because its report was lost, or because the daemon restarted. One
//! that ended is answered with the same report and not done again. One that was interrupted (the
//! machine lost power) is done from its beginning by the next ramdisk, which remembers nothing.

pub(crate) mod wipe;
mod write;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use undercloud_model::{
    StepId,
    agent::{Outcome, Report, Step, StepFailure, StepFailureKind, StepResult},
};

use crate::{
    client::{Client, Patience},
    cloud::Cloud,
    device::failure,
    inspect::inspect,
    log::{Log, one_line},
    sys::Host,
};

/// How many outcomes are remembered.
const REMEMBERED_MAX: usize = 64;

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

/// Does steps. Several threads may give it orders; the same order must not be given twice at once.
#[derive(Debug)]
pub struct Executor {
    tools: Tools,
    place: Place,
    cloud: Option<Arc<Cloud>>,
    done: Mutex<VecDeque<Report>>,
}

/// What a step works with.
#[derive(Debug, Clone)]
struct Tools {
    host: Host,
    client: Client,
    /// Of this step alone.
    log: Log,
    patience: Patience,
    progress_every: Duration,
}

impl Executor {
    /// An executor on this host; images come from `client`.
    pub fn new(host: Host, place: Place, client: Client, log: Log) -> Self {
        let tools = Tools {
            host,
            client,
            log,
            patience: Patience::default(),
            progress_every: Duration::from_secs(2),
        };
        Self { tools, place, cloud: None, done: Mutex::default() }
    }

    /// The same with other bounds on broken streams and another rhythm of progress.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience, progress_every: Duration) -> Self {
        self.tools.patience = patience;
        self.tools.progress_every = progress_every;
        self
    }

    /// The same, for the steps of the cloud's installation too.
    #[must_use]
    pub fn with_cloud(mut self, cloud: Arc<Cloud>) -> Self {
        self.cloud = Some(cloud);
        self
    }

    /// The daemon answered, for the first time.
    pub fn answered(&self) {
        let answered = self.cloud.as_ref().map(|cloud| cloud.answered(&self.tools.log));
        if let Some(Err(failure)) = answered {
            self.tools.log.say(failure.message);
        }
    }

    /// Does the order, or repeats its report if it was done. There is no report where this program is
    /// about to end in favour of another build of it.
    pub fn execute(&self, order: Order) -> Option<Report> {
        let remembered = self.done().iter().find(|r| r.id == order.id).cloned();
        if let Some(report) = remembered {
            let id = order.id;
            self.tools.log.say(format_args!("step {id} was done already, repeating its report"));
            return Some(report);
        }
        let tools = Tools { log: self.tools.log.fork(), ..self.tools.clone() };
        // Without an end there is no report, and the daemon would give the order again and again.
        let step = AssertUnwindSafe(|| self.step(&tools, order.id, order.step));
        let ended = catch_unwind(step)
            .unwrap_or_else(|_| Err(failure(StepFailureKind::System, "a fault of the agent")));
        if self.cloud.as_ref().is_some_and(|cloud| cloud.is_ending()) {
            return None;
        }
        let outcome = match ended {
            Ok(result) => Outcome::Done(result),
            Err(failure) => {
                tools.log.say(format_args!("step {} failed: {}", order.id, failure.message));
                Outcome::Failed(failure)
            }
        };
        let report = Report { id: order.id, outcome, log: tools.log.take() };
        let mut done = self.done();
        done.push_back(report.clone());
        if done.len() > REMEMBERED_MAX {
            done.pop_front();
        }
        Some(report)
    }

    fn done(&self) -> MutexGuard<'_, VecDeque<Report>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(
        &self,
        tools: &Tools,
        id: StepId,
        step: serde_json::Value,
    ) -> Result<StepResult, StepFailure> {
        let kind = kind_of(&step);
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
        tools.log.say(format_args!("step {id}: {kind}"));
        match (step, self.place) {
            (Step::Inspect, _) => match inspect(&tools.host) {
                Ok(inventory) => Ok(StepResult::Inspect(inventory)),
                Err(e) => Err(failure(StepFailureKind::Unsupported, e)),
            },
            (Step::WipeDisks { disks }, Place::Ramdisk) => {
                let disks = wipe::wipe(&tools.host, &disks, &tools.log)?;
                Ok(StepResult::WipeDisks { disks })
            }
            (Step::WriteImage { image, disk, config_drive }, Place::Ramdisk) => {
                let job = write::Job { id, image, disk, config_drive };
                Ok(StepResult::WriteImage(write::write(tools, &job)?))
            }
            (Step::WipeDisks { .. } | Step::WriteImage { .. }, Place::Installed) => Err(failure(
                StepFailureKind::Unsupported,
                format_args!("`{kind}` is done by the ramdisk, not by the installed system"),
            )),
            (Step::Cloud { step }, _) => match &self.cloud {
                Some(cloud) => Ok(StepResult::Cloud(cloud.execute(&step, &tools.log)?)),
                None => Err(failure(
                    StepFailureKind::Unsupported,
                    format_args!("`{kind}` is done by the installed system, not by the ramdisk"),
                )),
            },
        }
    }
}

/// What a step calls itself: `inspect`, `cloud pull_image`.
fn kind_of(step: &serde_json::Value) -> String {
    let text = |pointer| step.pointer(pointer).and_then(|k| k.as_str()).unwrap_or_default();
    one_line(&format!("{} {}", text("/kind"), text("/step/kind")))
}
