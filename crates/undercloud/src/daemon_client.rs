//! The command line's side of the daemon: blocking, and with errors as people read them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use undercloud_api::{
    admin::{NodeView, Status, TaskRequest, TaskState, TaskView},
    client::{Client, ClientError},
};
use undercloud_model::ErrorKind;

use crate::{failure::Failure, state::StateDir};

/// The longest task of the lab that a command waits for.
pub(crate) const LAB_TIMEOUT: Duration = Duration::from_secs(900);

/// Who types this: root, and for whom.
fn person() -> String {
    let name = |variable: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        let name = std::env::var(variable).ok()?.chars().filter(|c| legal(*c)).take(32).collect();
        Some(name).filter(|name: &String| !name.is_empty())
    };
    let user = name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "root".to_owned());
    match name("SUDO_USER").filter(|sudo| *sudo != user) {
        Some(sudo) => format!("{user} ({sudo})"),
        None => user,
    }
}

/// A daemon that answers.
#[derive(Debug)]
pub(crate) struct Daemon {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Daemon {
    /// The daemon of `state`.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn connect(state: &StateDir) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let socket = state.socket();
        let socket = camino::Utf8Path::from_path(&socket).context("the state's path is no text")?;
        let client = runtime.block_on(Client::connect(socket)).map_err(readable)?;
        let client = client.speaking_for(person());
        Ok(Self { runtime, client })
    }

    /// Asks it something.
    ///
    /// # Errors
    /// What it refused, or that it went away.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        self.runtime.block_on(question(&self.client)).map_err(readable)
    }

    /// Runs several questions at once, each with its errors already readable.
    ///
    /// # Errors
    /// Theirs.
    pub(crate) fn block_on<T>(
        &self,
        questions: impl AsyncFnOnce(&Client) -> Result<T>,
    ) -> Result<T> {
        self.runtime.block_on(questions(&self.client))
    }

    /// What runs.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub(crate) fn status(&self) -> Result<Status> {
        self.ask(async |client| client.status().await)
    }

    /// One node, by name or id.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub(crate) fn node(&self, node: &str) -> Result<NodeView> {
        self.ask(async |client| client.node(node).await)
    }

    /// Runs a task to its end and says each of its lines; returns what came out.
    ///
    /// # Errors
    /// As [`Daemon::ask`], and what the task failed with.
    pub(crate) fn run_task(
        &self,
        task: &TaskRequest,
        timeout: Duration,
        mut on_change: impl FnMut(&TaskView),
    ) -> Result<serde_json::Value> {
        self.ask(async |client| {
            let until = Instant::now() + timeout;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match client.start(task).await {
                    Ok(started) => {
                        let ended = client.ended(started.id, left, &mut on_change).await?;
                        return Ok(ended.result.unwrap_or_default());
                    }
                    // Another installation, or one that the daemon went on with by itself: first
                    // that, then ours, which changes only what differs.
                    Err(busy) if busy.kind() == ErrorKind::Busy && !left.is_zero() => {
                        let tasks = client.status().await?.tasks;
                        let same = tasks.into_iter().find(|view| {
                            view.state == TaskState::Running && view.name == task.name()
                        });
                        let Some(other) = same else { return Err(busy) };
                        // How it ended otherwise is for whoever asked for it.
                        let ended = client.ended(other.id, left, &mut on_change).await;
                        if let Err(error @ ClientError::Deadline { .. }) = ended {
                            return Err(error);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

/// A client's error as people read it.
pub(crate) fn readable(error: ClientError) -> anyhow::Error {
    let (kind, hint) = (error.kind(), error.hint().map(str::to_owned));
    let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    Failure { kind, message, hint }.into()
}
