//! `/v1/tasks`: long work that the daemon does for a command, and how far it is.
//!
//! ```text
//! running ── done, with a result
//!         └─ failed, with an error
//! ```
//! Tasks live in memory: a daemon that starts anew knows none, but begins the installation again that
//! was under way. At most one task works on a thing at a time; who asks for what is under way
//! follows it.

mod registry;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use undercloud_model::{Caller, NodeName, UnixMillis, installation::Until};
use uuid::Uuid;

use super::{Context, LabKind, WAIT_MS_MAX};
use crate::{ApiError, body::JsonBody};

pub use registry::{Reporter, Tasks};

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum TaskRequest {
    /// Makes the machines that are missing and starts nothing.
    LabCreate {
        /// The text of `lab.toml`.
        description: String,
        /// What the machines are that do not say it there.
        #[serde(default)]
        kind: LabKind,
    },
    /// Stops the machines and removes them with their disks.
    LabDelete,
    /// Makes more machines of a group that are alike, beside those that run.
    LabGrow {
        /// What their names begin with: `compute` for `compute-0`, `compute-1` and on.
        group: String,
        /// How many there are to be; one more than now without it.
        #[serde(default)]
        count: Option<usize>,
    },
    /// Takes machines away while the others run, with their disks and their nodes.
    LabShrink {
        /// Their names; one that is not there is passed over.
        machines: Vec<NodeName>,
        /// Also those of an installed cloud.
        #[serde(default)]
        force: bool,
    },
    /// Installs the cloud, from machines that are enrolled on. The daemon goes on with it whoever
    /// follows, and after a restart.
    CloudInstall {
        /// The text of `cloud.toml`.
        description: String,
        /// Public keys for people's ssh on machines that are installed for it.
        #[serde(default)]
        ssh_keys: Vec<String>,
        /// How far it goes.
        #[serde(default)]
        until: Until,
    },
}

impl TaskRequest {
    /// What it works on: one at a time.
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::LabCreate { .. }
            | Self::LabDelete
            | Self::LabGrow { .. }
            | Self::LabShrink { .. } => "lab",
            Self::CloudInstall { .. } => "cloud",
        }
    }

    /// Its name, for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LabCreate { .. } => "lab create",
            Self::LabDelete => "lab delete",
            Self::LabGrow { .. } => "lab grow",
            Self::LabShrink { .. } => "lab shrink",
            Self::CloudInstall { .. } => "cloud install",
        }
    }
}

/// A task as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub name: String,
    /// Whether it is over.
    pub state: TaskState,
    /// When it was asked for.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// How far it is, where that can be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<TaskProgress>,
    /// What it said, from the line asked for on.
    pub lines: Vec<TaskLine>,
    /// The line to ask for next.
    pub next_line: u64,
}

/// Whether a task is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// So much is done.
    pub done: u64,
    /// Of so much.
    pub total: u64,
    /// What is being done now, the longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doing: Vec<String>,
}

/// Something a task said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLine {
    /// Its number, from 0.
    pub number: u64,
    /// When.
    pub at: UnixMillis,
    /// What.
    pub text: String,
    /// The part of the task that ended with it, where a task has parts: then the text is what came
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}

/// How to look at a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Look {
    /// Lines from this one on.
    pub(crate) from_line: u64,
    /// Wait so long for something new, if there is nothing.
    pub(crate) wait_ms: u64,
}

/// What takes long.
///
/// Implemented by the binary.
pub trait TasksApi: Send + Sync + 'static {
    /// Does what takes long. Asked for again after a crash, it resumes.
    fn run(
        self: Arc<Self>,
        caller: Caller,
        task: TaskRequest,
        reporter: Reporter,
    ) -> impl Future<Output = Result<Value, ApiError>> + Send;
}

pub(super) async fn list<A: TasksApi>(State(context): State<Context<A>>) -> Json<Vec<TaskView>> {
    Json(context.0.tasks.list())
}

pub(super) async fn start<A: TasksApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    JsonBody(request): JsonBody<TaskRequest>,
) -> Result<(StatusCode, Json<TaskView>), ApiError> {
    let shared = &context.0;
    let api = shared.api.clone();
    let id = shared
        .tasks
        .start_or_follow(request, |request, reporter| api.run(caller, request, reporter))?;
    Ok((StatusCode::ACCEPTED, Json(shared.tasks.look(id, 0)?)))
}

pub(super) async fn show<A: TasksApi>(
    State(context): State<Context<A>>,
    Path(task): Path<Uuid>,
    Query(look): Query<Look>,
) -> Result<Json<TaskView>, ApiError> {
    let wait = Duration::from_millis(look.wait_ms.min(WAIT_MS_MAX));
    context.0.tasks.wait(task, look.from_line, wait).await.map(Json)
}
