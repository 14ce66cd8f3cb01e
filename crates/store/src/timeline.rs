//! The timeline: everything that happened, in one order.

use serde::Serialize;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
pub use undercloud_model::timeline::{Cause, EventKind, Severity};
use undercloud_model::{Caller, NodeId, UnixMillis, timeline::Happening};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// The most events of one answer.
const EVENTS_MAX: u32 = 1000;
/// The same again within this time is counted, where that is done.
const SAME_MS: i64 = 600_000;
/// Among so many of the newest is it looked for.
const SAME_AMONG: i64 = 64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// Its place; greater is later.
    pub id: i64,
    /// Whose it is, if a node's.
    pub node: Option<NodeId>,
    /// When; the first time, if it happened more than once.
    pub at_ms: UnixMillis,
    /// Of what kind.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// For a person, one sentence.
    pub text: String,
    /// For a program: a [`Happening`], but for events of earlier versions.
    pub data: Option<serde_json::Value>,
    /// Of which run of which deployment.
    pub run: Option<Run>,
    /// The node's visit of a state, at that time.
    pub visit: Option<i64>,
    /// The number of the request that the node was busy with.
    pub request: Option<i64>,
    /// What it came of.
    pub cause: Option<Cause>,
    /// How often it happened.
    pub times: i64,
}

/// A run of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The deployment's number.
    pub deployment: i64,
    /// Its run's.
    pub attempt: i64,
}

/// An event that is not written yet. No secrets are in it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    what: Happening,
    cause: Cause,
    run: Option<Run>,
    request: Option<i64>,
}

impl<T: Into<Happening>> From<T> for NewEvent {
    fn from(what: T) -> Self {
        let what = what.into();
        let cause = what.usual_cause();
        Self { what, cause, run: None, request: None }
    }
}

impl NewEvent {
    /// It came of that.
    #[must_use]
    pub const fn because(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// It belongs to this run.
    #[must_use]
    pub const fn of_run(mut self, run: Run) -> Self {
        self.run = Some(run);
        self
    }

    /// It belongs to this request, whatever the node is busy with.
    #[must_use]
    pub const fn of_request(mut self, request: i64) -> Self {
        self.request = Some(request);
        self
    }

    /// What it says.
    pub const fn what(&self) -> &Happening {
        &self.what
    }
}

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// One node's.
    Node(NodeId),
    /// One deployment's, of all its runs.
    Deployment(i64),
}

impl Store {
    /// The first `limit` events after `after` (0 for the beginning), oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events_since(
        &self,
        scope: Scope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TimelineEvent>, StoreError> {
        let (node, deployment) = match scope {
            Scope::All => (None, None),
            Scope::Node(id) => (Some(id.to_string()), None),
            Scope::Deployment(number) => (None, Some(number)),
        };
        let rows = sqlx::query(
            "SELECT * FROM events
             WHERE id > $1 AND ($2 IS NULL OR node = $2) AND ($3 IS NULL OR deployment = $3)
             ORDER BY id LIMIT $4",
        )
        .bind(after)
        .bind(node)
        .bind(deployment)
        .bind(limit.min(EVENTS_MAX))
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("read the timeline"))?;
        rows.iter().map(event).collect()
    }

    /// The newest event's id, 0 if there is none: where to follow from.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_event(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(sql("read the timeline"))
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record(
        &self,
        node: Option<NodeId>,
        new: &NewEvent,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        append(write.sql(), node, new, now).await?;
        write.commit("record an event").await
    }
}

/// The one way onto the timeline. A node's event is of the visit and the request that the node is in.
pub(crate) async fn append(
    tx: &mut SqliteConnection,
    node: Option<NodeId>,
    new: &NewEvent,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let NewEvent { what, cause, run, request } = new;
    let text = what.to_string();
    if what.is_counted() && count(tx, node, &text, now).await? {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO events (node, at_ms, kind, severity, text, data, cause, deployment, run, visit,
             request)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, (SELECT visit FROM nodes WHERE id = $1),
             coalesce($10, (SELECT request FROM nodes WHERE id = $1)))",
    )
    .bind(node.map(|n| n.to_string()))
    .bind(now)
    .bind(word("an event's kind", &what.kind())?)
    .bind(word("a severity", &what.severity())?)
    .bind(text)
    .bind(to_json("an event", what)?)
    .bind(word("a cause", cause)?)
    .bind(run.map(|run| run.deployment))
    .bind(run.map(|run| run.attempt))
    .bind(request)
    .execute(tx)
    .await
    .map_err(sql("record an event"))?;
    Ok(())
}

/// The newest event's place; 0 where there is none.
pub(crate) async fn newest(db: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
        .fetch_one(db)
        .await
        .map_err(sql("read the timeline"))
}

/// Writes into every event after `before` who asked for it.
pub(crate) async fn name_caller(
    tx: &mut SqliteConnection,
    caller: &Caller,
    before: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE events SET data = json_set(coalesce(data, '{}'), '$.by', $1) WHERE id > $2",
    )
    .bind(caller.name())
    .bind(before)
    .execute(tx)
    .await
    .map_err(sql("write down who asked"))?;
    Ok(())
}

/// Whether the same is there already, of a moment ago: then it is once more.
async fn count(
    tx: &mut SqliteConnection,
    node: Option<NodeId>,
    text: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let counted = sqlx::query(
        "UPDATE events SET times = times + 1 WHERE id = (
             SELECT id FROM (SELECT id, at_ms, text FROM events WHERE node IS $1
                 ORDER BY id DESC LIMIT $4)
             WHERE text = $2 AND at_ms > $3 ORDER BY id DESC LIMIT 1)",
    )
    .bind(node.map(|n| n.to_string()))
    .bind(text)
    .bind(now.saturating_sub(SAME_MS))
    .bind(SAME_AMONG)
    .execute(tx)
    .await
    .map_err(sql("count an event"))?;
    Ok(counted.rows_affected() > 0)
}

fn event(row: &SqliteRow) -> Result<TimelineEvent, StoreError> {
    let node: Option<String> = row.get("node");
    let data: Option<String> = row.get("data");
    let cause: Option<&str> = row.get("cause");
    let run = row.get::<Option<i64>, _>("deployment").zip(row.get("run"));
    Ok(TimelineEvent {
        id: row.get("id"),
        node: node.map(|n| n.parse()).transpose().map_err(corrupt("node id"))?,
        at_ms: row.get("at_ms"),
        kind: unword("an event's kind", row.get("kind"))?,
        severity: unword("a severity", row.get("severity"))?,
        text: row.get("text"),
        data: data.map(|d| from_json("an event's data", &d)).transpose()?,
        run: run.map(|(deployment, attempt)| Run { deployment, attempt }),
        visit: row.get("visit"),
        request: row.get("request"),
        cause: cause.map(|c| unword("a cause", c)).transpose()?,
        times: row.get("times"),
    })
}

/// A plain enum as its word.
pub(crate) fn word(what: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    let json = to_json(what, value)?;
    Ok(json.trim_matches('"').to_owned())
}

/// A word as its plain enum.
pub(crate) fn unword<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(corrupt(what))
}
