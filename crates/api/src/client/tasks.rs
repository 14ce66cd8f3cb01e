//! Tasks: long work that the daemon does for a command.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use undercloud_model::ErrorKind;
use uuid::Uuid;

use super::{Answer, Client, ClientError, wait_ms};
use crate::{
    ApiError,
    admin::{TaskRequest, TaskState, TaskView},
};

impl Client {
    /// Starts a task.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn start(&self, task: &TaskRequest) -> Answer<TaskView> {
        self.json(Method::POST, "/v1/tasks", Some(task)).await
    }

    /// A task with its lines from that one on, when there is something new or after `wait`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn task(&self, task: Uuid, from_line: u64, wait: Duration) -> Answer<TaskView> {
        let wait = wait_ms(wait);
        self.get(&format!("/v1/tasks/{task}?from_line={from_line}&wait_ms={wait}")).await
    }

    /// Follows a task to its end and says each change on the way. A task that failed is a refusal.
    ///
    /// # Errors
    /// As [`Client::status`], and when it is not over within `timeout`.
    pub async fn ended(
        &self,
        task: Uuid,
        timeout: Duration,
        mut on_change: impl FnMut(&TaskView),
    ) -> Answer<TaskView> {
        let until = Instant::now() + timeout;
        let mut from_line = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut view = self.task(task, from_line, left).await?;
            on_change(&view);
            from_line = view.next_line;
            match view.state {
                TaskState::Done => return Ok(view),
                TaskState::Failed => {
                    let unknown = || ApiError::new(ErrorKind::Bug, "the task failed");
                    return Err(ClientError::Refused(view.error.take().unwrap_or_else(unknown)));
                }
                TaskState::Running if left.is_zero() => {
                    let seconds = timeout.as_secs();
                    return Err(ClientError::Deadline { what: view.name, seconds });
                }
                TaskState::Running => {}
            }
        }
    }
}
