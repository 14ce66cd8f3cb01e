//! Follows an installation that the daemon carries out: says what it says, part by part. It goes on
//! by itself when nobody follows any more, and can be followed again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
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
    out::Format,
    waiting::Work,
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
    work: Work,
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
        let work = Work::new("the installation", HOW_TO_FOLLOW);
        let mut view = daemon.start_task(request, deadline, |view| task::show(context, view))?;
        let lines = view.lines.drain(..).collect();
        Ok(Self { context, daemon, view, lines, deadline, work })
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
        let mut view =
            daemon.wait(&self.work, async |client| client.task(id, from_line, wait).await)?;
        self.lines.extend(view.lines.drain(..));
        self.view = view;
        if left.is_zero() && self.lines.is_empty() && self.view.state == TaskState::Running {
            return Err(self.work.too_long());
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

const HOW_TO_FOLLOW: &str =
    "the same command follows it again; undercloud status, undercloud events";
