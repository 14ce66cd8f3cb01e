//! Follows an installation that the daemon carries out: says what it says, part by part. It goes on
//! by itself when nobody follows any more, and can be followed again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use undercloud_api::{
    ApiError,
    admin::{TaskLine, TaskRequest, TaskState, TaskView, WAIT_MS_MAX},
    client::ClientError,
};
use undercloud_model::ErrorKind;

use super::{Context, task};
use crate::{
    daemon::installation,
    daemon_client::{Daemon, readable},
    failure::Failure,
    out::Format,
};

/// A task of the daemon's, followed.
#[derive(Debug)]
pub(crate) struct Following<'a> {
    context: &'a Context,
    daemon: &'a Daemon,
    view: TaskView,
    /// Lines that were not shown yet.
    lines: VecDeque<TaskLine>,
    deadline: Instant,
    /// Ctrl-C.
    interrupts: Signal,
}

impl<'a> Following<'a> {
    /// Asks for a task, or finds it where it is under way.
    ///
    /// # Errors
    /// It was refused, or another one of its kind was not over in time.
    pub(crate) fn ask(
        context: &'a Context,
        daemon: &'a Daemon,
        request: &TaskRequest,
        deadline: Instant,
    ) -> Result<Self> {
        daemon.block_on(async |client| {
            let mut interrupts =
                signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
            loop {
                let busy = match client.start(request).await {
                    Ok(mut view) => {
                        let lines = view.lines.drain(..).collect();
                        return Ok(Self { context, daemon, view, lines, deadline, interrupts });
                    }
                    Err(busy) if busy.kind() == ErrorKind::Busy => busy,
                    Err(error) => return Err(readable(error)),
                };
                // Another installation: first that, then ours, which changes only what differs.
                let tasks = client.status().await.map_err(readable)?.tasks;
                let other = tasks
                    .into_iter()
                    .find(|view| view.state == TaskState::Running && view.name == request.name());
                let Some(other) = other else { return Err(readable(busy)) };
                let left = deadline.saturating_duration_since(Instant::now());
                let ended = client.ended(other.id, left, |view| task::show(context, view));
                let ended = tokio::select! {
                    biased;
                    _ = interrupts.recv() => return Err(closed()),
                    ended = ended => ended,
                };
                // How it ended otherwise is for whoever asked for it.
                if let Err(error @ ClientError::Deadline { .. }) = ended {
                    return Err(readable(error));
                }
            }
        })
    }

    /// Follows it to the end of one of its parts; says what came out.
    ///
    /// # Errors
    /// What it failed with; that nobody wants to follow it any longer, or for too long already.
    pub(crate) fn part(&mut self, part: &str) -> Result<String> {
        loop {
            while let Some(line) = self.lines.pop_front() {
                match &line.ends {
                    Some(ended) if ended == part => return Ok(line.text),
                    Some(_) => {}
                    None => self.show(part, &line.text),
                }
            }
            if self.view.state != TaskState::Running {
                // Its lines are bounded: the end of the part may be gone.
                return self.result().map(|_| String::new());
            }
            // Its lines were shown: what it is doing.
            task::show(self.context, &self.view);
            self.look()?;
        }
    }

    /// Follows it to its end; says what came out.
    ///
    /// # Errors
    /// As [`Following::part`].
    pub(crate) fn until_its_end(&mut self) -> Result<Value> {
        self.part("")?;
        self.result()
    }

    fn result(&mut self) -> Result<Value> {
        match self.view.state {
            TaskState::Failed => {
                let unknown = || ApiError::new(ErrorKind::Bug, "the installation failed");
                let error = self.view.error.clone().unwrap_or_else(unknown);
                Err(readable(ClientError::Refused(error)))
            }
            TaskState::Done | TaskState::Running => {
                Ok(self.view.result.clone().unwrap_or_default())
            }
        }
    }

    /// Waits for something new.
    fn look(&mut self) -> Result<()> {
        let (daemon, id, from_line) = (self.daemon, self.view.id, self.view.next_line);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wait = left.min(Duration::from_millis(WAIT_MS_MAX));
        let interrupts = &mut self.interrupts;
        let mut view = daemon.block_on(async |client| {
            tokio::select! {
                biased;
                _ = interrupts.recv() => Err(closed()),
                view = client.task(id, from_line, wait) => view.map_err(readable),
            }
        })?;
        self.lines.extend(view.lines.drain(..));
        self.view = view;
        if left.is_zero() && self.lines.is_empty() && self.view.state == TaskState::Running {
            return Err(too_long());
        }
        Ok(())
    }

    /// What checks say has their form already.
    fn show(&self, part: &str, text: &str) {
        if self.context.out.format() == Format::Json {
            return;
        }
        let indent = if part == installation::VERIFICATION { "" } else { "        " };
        // What cannot be printed is in the log all the same.
        let _printed = self.context.out.line(format_args!("{indent}{text}"));
    }
}

/// Somebody pressed Ctrl-C.
fn closed() -> anyhow::Error {
    let message = "nobody follows the installation any more; the daemon goes on with it";
    Failure::new(ErrorKind::Busy, message).hint(HOW_TO_FOLLOW).into()
}

fn too_long() -> anyhow::Error {
    let message = "the installation is not over; the daemon goes on with it";
    Failure::new(ErrorKind::Busy, message).hint(HOW_TO_FOLLOW).into()
}

const HOW_TO_FOLLOW: &str =
    "the same command follows it again; undercloud status, undercloud events";
