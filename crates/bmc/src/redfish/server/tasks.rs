//! Tasks: what a machine does longer than a client should wait (DSP0266, 13.4).

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{message::Refusal, service::timestamp};
use crate::machine::MachineError;

/// How long an answer waits for the machine before it becomes a task.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Tasks remembered, and at most under way; the oldest that is done goes first.
pub(super) const TASKS_MAX: usize = 1024;

/// How a task ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    Done,
    Failed(MachineError),
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: u64,
    /// The machine it is about: who does not see that does not see the task.
    pub(super) unit: String,
    pub(super) name: String,
    pub(super) started: String,
    pub(super) ended: Option<String>,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Default)]
struct Shelf {
    next: u64,
    tasks: VecDeque<Task>,
}

/// The tasks of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    shelf: Arc<Mutex<Shelf>>,
    tracker: TaskTracker,
}

/// How far something got in the time that an answer may take.
pub(super) enum Progress {
    Finished,
    Continues(Task),
}

impl Tasks {
    /// Does `work` on a task of its own, so that a client that hangs up does not stop it halfway.
    ///
    /// # Errors
    /// The machine's, when it failed at once; 503 when too much is under way.
    pub(super) async fn run(
        &self,
        unit: &str,
        name: &'static str,
        work: impl Future<Output = Result<(), MachineError>> + Send + 'static,
    ) -> Result<Progress, Refusal> {
        let task = self.add(unit, name).ok_or_else(|| Refusal::later(5))?;
        let (sender, mut receiver) = watch::channel(Outcome::Running);
        let (tasks, id) = (self.clone(), task.id);
        self.tracker.spawn(async move {
            let outcome = match work.await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(name, %error, "Redfish task failed");
                    Outcome::Failed(error)
                }
            };
            tasks.end(id, outcome.clone());
            sender.send_replace(outcome);
        });
        let ended = receiver.wait_for(|outcome| *outcome != Outcome::Running);
        let outcome = match tokio::time::timeout(ANSWER_MAX, ended).await {
            Ok(Ok(outcome)) => outcome.clone(),
            // Only a panic drops the sender before it has said something.
            Ok(Err(_)) => Outcome::Failed(MachineError::Failed("the task broke off".into())),
            Err(_) => return Ok(Progress::Continues(task)),
        };
        self.drop_task(id);
        match outcome {
            Outcome::Failed(error) => Err(Refusal::machine(&error, name)),
            Outcome::Done | Outcome::Running => Ok(Progress::Finished),
        }
    }

    pub(super) fn list(&self, visible: impl Fn(&Task) -> bool) -> Vec<Task> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.tasks.iter().filter(|task| visible(task)).cloned().collect()
    }

    /// Waits for what is under way.
    pub(super) async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn add(&self, unit: &str, name: &str) -> Option<Task> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.tasks.len() >= TASKS_MAX {
            let done = shelf.tasks.iter().position(|task| task.outcome != Outcome::Running)?;
            shelf.tasks.remove(done);
        }
        shelf.next += 1;
        let task = Task {
            id: shelf.next,
            unit: unit.to_owned(),
            name: name.to_owned(),
            started: timestamp(),
            ended: None,
            outcome: Outcome::Running,
        };
        shelf.tasks.push_back(task.clone());
        Some(task)
    }

    fn end(&self, id: u64, outcome: Outcome) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = shelf.tasks.iter_mut().find(|task| task.id == id) {
            task.outcome = outcome;
            task.ended = Some(timestamp());
        }
    }

    fn drop_task(&self, id: u64) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.tasks.retain(|task| task.id != id);
    }
}
