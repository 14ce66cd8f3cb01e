//! The timeline: everything that happened, in one order.

use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{NodeId, UnixMillis};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// The most events of one answer.
const EVENTS_MAX: u32 = 1000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Its place; greater is later.
    pub id: i64,
    /// Whose it is, if a node's.
    pub node: Option<NodeId>,
    /// When.
    pub at_ms: UnixMillis,
    /// Of what kind.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// For a person, one sentence.
    pub text: String,
    /// For a program.
    pub data: Option<serde_json::Value>,
}

/// An event that is not written yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Of what kind.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// For a person, one sentence. No secrets.
    pub text: String,
    /// For a program. No secrets.
    pub data: Option<serde_json::Value>,
}

impl NewEvent {
    /// An event for the record.
    pub fn info(kind: EventKind, text: impl Into<String>) -> Self {
        Self { kind, severity: Severity::Info, text: text.into(), data: None }
    }

    /// An event that somebody should look at.
    pub fn warning(kind: EventKind, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::info(kind, text) }
    }

    /// An event that somebody has to look at.
    pub fn error(kind: EventKind, text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, ..Self::info(kind, text) }
    }

    /// With particulars.
    #[must_use]
    pub fn with(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Somebody asked for something.
    Request,
    /// A node's record was made, changed or removed.
    Node,
    /// A node went from one state to another.
    State,
    /// Something was done to a machine.
    Action,
    /// A machine's power was seen to change.
    Power,
    /// A machine's network boot.
    Netboot,
    /// An agent called or reported.
    Agent,
    /// Somebody tried what is not theirs.
    Security,
    /// Something failed.
    Failure,
    /// A cloud's installation.
    Cloud,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody has to look.
    Error,
}

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// One node's.
    Node(NodeId),
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
        let node = match scope {
            Scope::All => None,
            Scope::Node(id) => Some(id.to_string()),
        };
        let rows = sqlx::query(
            "SELECT id, node, at_ms, kind, severity, text, data FROM events
             WHERE id > $1 AND ($2 IS NULL OR node = $2) ORDER BY id LIMIT $3",
        )
        .bind(after)
        .bind(node)
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

pub(crate) async fn append(
    tx: &mut SqliteConnection,
    node: Option<NodeId>,
    new: &NewEvent,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let data = new.data.as_ref().map(|d| to_json("an event", d)).transpose()?;
    sqlx::query(
        "INSERT INTO events (node, at_ms, kind, severity, text, data)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(node.map(|n| n.to_string()))
    .bind(now)
    .bind(word("an event's kind", &new.kind)?)
    .bind(word("a severity", &new.severity)?)
    .bind(&new.text)
    .bind(data)
    .execute(tx)
    .await
    .map_err(sql("record an event"))?;
    Ok(())
}

fn event(row: &SqliteRow) -> Result<TimelineEvent, StoreError> {
    let node: Option<String> = row.get("node");
    let data: Option<String> = row.get("data");
    Ok(TimelineEvent {
        id: row.get("id"),
        node: node.map(|n| n.parse()).transpose().map_err(corrupt("node id"))?,
        at_ms: row.get("at_ms"),
        kind: unword("an event's kind", row.get("kind"))?,
        severity: unword("a severity", row.get("severity"))?,
        text: row.get("text"),
        data: data.map(|d| from_json("an event's data", &d)).transpose()?,
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
