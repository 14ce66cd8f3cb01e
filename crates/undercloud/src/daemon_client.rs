//! The command line's side of the daemon: blocking, and with errors as people read them.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::signal::unix::Signal;
use undercloud_api::{
    admin::{NodeView, Status, TaskRequest, TaskState, TaskView},
    client::{Client, ClientError},
};
use undercloud_model::ErrorKind;

use crate::{
    failure::Failure,
    state::StateDir,
    waiting::{self, Work},
};

/// The longest task of the lab that a command waits for.
pub(crate) const LAB_TIMEOUT: Duration = Duration::from_secs(900);

/// How to look at a task of the daemon's, whatever it is.
const LOOK_AT_TASKS: &str =
    "the same command waits for it again; undercloud status, undercloud events";

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
    /// Ctrl-C, from the first wait on; until then it ends this process.
    interrupts: RefCell<Option<Signal>>,
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
        Ok(Self { runtime, client, interrupts: RefCell::default() })
    }

    /// Asks it something.
    ///
    /// # Errors
    /// What it refused, or that it went away.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        self.block_on(async |client| question(client).await.map_err(readable))
    }

    /// Runs several questions at once, each with its errors already readable.
    ///
    /// # Errors
    /// Theirs.
    pub(crate) fn block_on<T>(
        &self,
        questions: impl AsyncFnOnce(&Client) -> Result<T>,
    ) -> Result<T> {
        match self.interrupts.take() {
            None => self.runtime.block_on(questions(&self.client)),
            interrupts => {
                self.interrupts.replace(interrupts);
                self.until_interrupted(questions)?.ok_or_else(waiting::cut_short)
            }
        }
    }

    /// Asks for work that is waited for then. Ctrl-C does not cut the question short, so that what is
    /// said of the work is true: it ends the wait.
    ///
    /// # Errors
    /// Its own.
    pub(crate) fn ask_for<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        self.begin_to_wait()?;
        self.runtime.block_on(question(&self.client))
    }

    /// From now on Ctrl-C ends a wait, or a short question, and not this process.
    fn begin_to_wait(&self) -> Result<()> {
        let interrupts = match self.interrupts.take() {
            None => self.runtime.block_on(async { waiting::interrupts() })?,
            Some(interrupts) => interrupts,
        };
        self.interrupts.replace(Some(interrupts));
        Ok(())
    }

    /// Waits for something; nothing, if Ctrl-C was pressed before.
    ///
    /// # Errors
    /// Its own.
    pub(crate) fn until_interrupted<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T>,
    ) -> Result<Option<T>> {
        self.begin_to_wait()?;
        let mut interrupts = self.interrupts.take().context("Ctrl-C is not watched")?;
        let answer = self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupts.recv() => None,
                answer = question(&self.client) => Some(answer),
            }
        });
        self.interrupts.replace(Some(interrupts));
        answer.transpose()
    }

    /// Waits for what the daemon does.
    ///
    /// # Errors
    /// Its own; that nobody wants to wait any longer, in one line that says that the work goes on.
    pub(crate) fn wait<T>(
        &self,
        work: &Work,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        let answer = self.until_interrupted(async |client| {
            question(client).await.map_err(|error| match error {
                ClientError::Deadline { .. } => work.too_long(),
                error => readable(error),
            })
        })?;
        answer.ok_or_else(|| work.closed())
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

    /// Asks for a task, or finds it where it is under way. Another one of its kind is waited for
    /// first: then ours, which changes only what differs.
    ///
    /// # Errors
    /// It was refused, or another one of its kind was not over in time.
    pub(crate) fn start_task(
        &self,
        task: &TaskRequest,
        deadline: Instant,
        mut on_change: impl FnMut(&TaskView),
    ) -> Result<TaskView> {
        loop {
            let started = self.ask_for(async |client| Ok(client.start(task).await))?;
            let busy = match started {
                Err(busy) if busy.kind() == ErrorKind::Busy => busy,
                started => return started.map_err(readable),
            };
            let other = self
                .status()?
                .tasks
                .into_iter()
                .find(|view| view.state == TaskState::Running && view.name == task.name());
            let Some(other) = other else { return Err(readable(busy)) };
            let left = deadline.saturating_duration_since(Instant::now());
            let work = Work::new(format!("another `{}`", other.name), LOOK_AT_TASKS);
            self.wait(&work, async |client| {
                match client.ended(other.id, left, &mut on_change).await {
                    // How it ended otherwise is for whoever asked for it.
                    Err(error @ ClientError::Deadline { .. }) => Err(error),
                    Ok(_) | Err(_) => Ok(()),
                }
            })?;
        }
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
        let deadline = Instant::now() + timeout;
        let started = self.start_task(task, deadline, &mut on_change)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let work = Work::new(format!("`{}`", task.name()), LOOK_AT_TASKS);
        let ended =
            self.wait(&work, async |client| client.ended(started.id, left, &mut on_change).await)?;
        Ok(ended.result.unwrap_or_default())
    }
}

/// A client's error as people read it.
pub(crate) fn readable(error: ClientError) -> anyhow::Error {
    let (kind, hint) = (error.kind(), error.hint().map(str::to_owned));
    let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    Failure { kind, message, hint }.into()
}
