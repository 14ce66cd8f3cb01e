//! `GET /v1/events`: the timeline of everything, by cursor. With `wait_ms` the answer waits for
//! news, so that `--wait` follows without asking over and over.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use undercloud_model::{NodeId, UnixMillis, timeline::Cause};

use super::{Context, NodeRef, NodesApi};
use crate::ApiError;

/// Longest wait of one request.
pub const WAIT_MS_MAX: u64 = 25_000;

/// Most events in one answer.
const LIMIT_MAX: u32 = 500;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place on the timeline; greater is later.
    pub cursor: i64,
    /// When.
    pub at: UnixMillis,
    /// To which node, if to one.
    pub node: Option<NodeId>,
    /// Whose name is this.
    pub name: Option<String>,
    /// What kind of event: `transition`, `dhcp`, `security`.
    pub topic: String,
    /// Who should look.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// More, by topic.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Of which deployment of the cloud it is, if of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<i64>,
    /// Of which of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// The number of the node's visit of the state that it was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit: Option<i64>,
    /// The number of the request that the node was busy with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<i64>,
    /// What it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How often it happened; `at` is the first time.
    #[serde(default = "once")]
    pub times: i64,
}

const fn once() -> i64 {
    1
}

/// Who should look at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody.
    Info,
    /// Somebody, some day.
    Warning,
    /// Somebody, now.
    Error,
}

/// Events, and where to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The cursor to ask after next.
    pub next: i64,
}

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQuery {
    /// After this cursor.
    pub after: i64,
    /// Of this node alone.
    pub node: Option<NodeId>,
    /// Of this deployment of the cloud alone.
    pub deployment: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Which events, as it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowQuery {
    /// After this cursor; from the beginning without it.
    pub after: i64,
    /// Of this node alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Of this deployment of the cloud alone; not together with `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<i64>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Wait so long for one, if there is none.
    pub wait_ms: u64,
}

/// The timeline of everything. Events are asked for by node.
///
/// Implemented by the binary.
pub trait EventsApi: NodesApi {
    /// Events after a cursor, oldest first; nothing is waited for.
    fn events(&self, query: EventQuery)
    -> impl Future<Output = Result<EventPage, ApiError>> + Send;

    /// Changes whenever there are new events.
    fn news(&self) -> watch::Receiver<u64>;
}

pub(super) async fn list<A: EventsApi>(
    State(context): State<Context<A>>,
    Query(asked): Query<FollowQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let api = &context.0.api;
    let node = match &asked.node {
        Some(node) => Some(api.node(&NodeRef::from(node.as_str())).await?.node.id),
        None => None,
    };
    let limit = asked.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let mut query = EventQuery { after: asked.after, node, deployment: asked.deployment, limit };
    let until = Instant::now() + Duration::from_millis(asked.wait_ms.min(WAIT_MS_MAX));
    let mut news = api.news();
    loop {
        // Marked as seen before the look, so that nothing falls between look and wait.
        news.mark_unchanged();
        let page = api.events(query).await?;
        query.after = page.next;
        let over = !page.events.is_empty() || Instant::now() >= until;
        if over {
            return Ok(Json(page));
        }
        tokio::select! {
            biased;
            () = context.0.stop.cancelled() => return Ok(Json(page)),
            changed = news.changed() => if changed.is_err() { return Ok(Json(page)) },
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
