//! `GET /v1/status`, `POST /v1/shutdown`: what a second person needs on the second day.

use std::collections::BTreeMap;

use axum::{Extension, Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_model::{Caller, UnixMillis};

use super::{Context, InstallationView, TaskView};
use crate::ApiError;

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its state directory.
    pub state_dir: String,
    /// The directory of a site's own definitions that it reads.
    #[serde(default)]
    pub definitions: String,
    /// Since when it runs.
    pub started_at: UnixMillis,
    /// Its memory (resident set), in bytes.
    pub rss_bytes: u64,
    /// What it listens on.
    pub endpoints: Vec<Endpoint>,
    /// How many nodes are in which state.
    pub nodes: BTreeMap<String, u32>,
    /// How many machines of the lab run, and how many there are.
    pub lab_running: (u32, u32),
    /// The newest deployment of the cloud, if there is one: its number, how it ended, whether a
    /// server was seen to work on it.
    #[serde(default)]
    pub cloud: Option<CloudStatus>,
    /// The newest installation of it, from enrolled machines on.
    #[serde(default)]
    pub installation: Option<InstallationView>,
    /// What failed last.
    pub last_failure: Option<LastFailure>,
    /// The newest event, to follow from.
    pub cursor: i64,
    /// Long work, the running ones first. The API adds them.
    #[serde(default)]
    pub tasks: Vec<TaskView>,
    /// What runs in the background.
    #[serde(default)]
    pub background: Vec<BackgroundTask>,
    /// What should work and does not.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// What takes room, the largest first.
    #[serde(default)]
    pub room: Vec<Room>,
    /// Open files and sockets.
    #[serde(default)]
    pub descriptors: Descriptors,
    /// What to type next.
    pub next: Vec<String>,
}

/// Something that the daemon should do and cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which part: `network boot`.
    pub part: String,
    /// Since when.
    pub since: UnixMillis,
    /// Why, in one sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// On which machine, if it is one of the cloud's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Of which service of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether that machine is not there at all: it is off now.
    #[serde(default)]
    pub is_absent: bool,
    /// What that said last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

/// Room on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// What takes it: `database`, `images`.
    pub what: String,
    /// How much.
    pub bytes: u64,
}

/// Files and sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// How many are open.
    pub open: u64,
    /// How many may be.
    pub max: u64,
}

/// Something that runs in the daemon for as long as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundTask {
    /// What it is.
    pub name: String,
    /// How often it runs; what runs for ever has no rhythm.
    pub every_ms: Option<u64>,
    /// Whether the daemon ends when this does.
    pub is_essential: bool,
    /// What it does now.
    pub state: BackgroundState,
    /// Since when it runs, or has its row.
    pub since: UnixMillis,
    /// How often it was begun again.
    pub restarts: u32,
    /// When its last run ended.
    pub last_run_at: Option<UnixMillis>,
    /// What that said.
    pub last_result: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// And when.
    pub last_error_at: Option<UnixMillis>,
}

/// What a background task does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackgroundState {
    /// It runs.
    Running,
    /// It waits for its next run, or to be begun again.
    Waiting,
    /// It ended, and the daemon ends.
    Ended,
}

/// The newest deployment of the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// Its number.
    pub deployment: i64,
    /// When its last run began.
    pub started_at: UnixMillis,
    /// Whether that run is over.
    pub is_over: bool,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Whether a verification passed.
    pub is_verified: bool,
}

/// Something the daemon listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What for: `identity`, `agents`.
    pub name: String,
    /// Where: a URL, an address or a path.
    pub address: String,
}

/// What failed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// When.
    pub at: UnixMillis,
    /// On which machine, if on one.
    pub node: Option<String>,
    /// The one sentence.
    pub message: String,
}

/// How all of it is.
///
/// Implemented by the binary.
pub trait StatusApi: Send + Sync + 'static {
    /// What runs, since when, and what failed last.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;
}

pub(super) async fn show<A: StatusApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Status>, ApiError> {
    let mut status = context.0.api.status().await?;
    status.tasks = context.0.tasks.list();
    Ok(Json(status))
}

pub(super) async fn shutdown<A: StatusApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
) -> StatusCode {
    tracing::info!(%caller, "shutdown asked for");
    context.0.stop.cancel();
    StatusCode::ACCEPTED
}
