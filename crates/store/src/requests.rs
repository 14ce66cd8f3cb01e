//! Requests: a person's intent for a node, written down for the engine to take up.

use std::{collections::HashMap, time::Duration};

use sqlx::SqliteConnection;
use undercloud_model::{
    NodeId, UnixMillis,
    node::{Event, Node, Verb},
    timeline::Asked,
};

use crate::{
    Ident, NewEvent, Store, consent, due,
    error::{StoreError, corrupt, sql, to_json},
    nodes::find,
    timeline::{self, append},
};

/// A request that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// Of which node.
    pub node: NodeId,
    /// Under which number it waits for the engine.
    pub intent: i64,
    /// The timeline's end before it: follow from here.
    pub cursor: i64,
}

impl Store {
    /// Writes down what somebody wants of a node, if the node allows it now. The engine takes it
    /// up; it is woken by [`Store::changes`].
    ///
    /// # Errors
    /// There is no such node, it does not allow it now, or another request waits.
    pub async fn request(
        &self,
        ident: impl Into<Ident>,
        verb: Verb,
        now: UnixMillis,
    ) -> Result<Requested, StoreError> {
        let mut write = self.write().await?;
        let requested = take(write.sql(), &ident.into(), verb, now).await?;
        write.commit("take a request").await?;
        Ok(requested)
    }

    /// How many requests of a node the engine has not looked at.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pending(&self, node: NodeId) -> Result<u32, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox WHERE node = $1")
            .bind(node.to_string())
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(sql("count a node's requests"))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The same of all nodes that have one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn all_pending(&self) -> Result<HashMap<NodeId, u32>, StoreError> {
        let rows: Vec<(String, u32)> =
            sqlx::query_as("SELECT node, count(*) FROM inbox GROUP BY node")
                .fetch_all(&mut *self.read().await?)
                .await
                .map_err(sql("count the requests"))?;
        let row =
            |(node, count): (String, u32)| Ok((node.parse().map_err(corrupt("node id"))?, count));
        rows.into_iter().map(row).collect()
    }

    /// Waits until the engine took the request up, at most for `timeout`; says whether it did.
    /// After that the node's state shows it.
    ///
    /// # Errors
    /// The node is gone, or the database cannot be read.
    pub async fn wait_taken(
        &self,
        requested: &Requested,
        timeout: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.wait_request(requested, timeout, |_| true).await?.is_some())
    }

    /// Waits until nothing is under way any more after the request, at most for `timeout`. The
    /// node then tells how it went: its state, and `last_error`.
    ///
    /// # Errors
    /// The node is gone, or the database cannot be read.
    pub async fn wait_settled(
        &self,
        requested: &Requested,
        timeout: Duration,
    ) -> Result<Option<Node>, StoreError> {
        self.wait_request(requested, timeout, |node| !node.is_busy()).await
    }

    async fn wait_request(
        &self,
        requested: &Requested,
        timeout: Duration,
        done: impl Fn(&Node) -> bool,
    ) -> Result<Option<Node>, StoreError> {
        let mut changes = self.changes();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            changes.mark_unchanged();
            // The node is read after the inbox: a request that is gone has left its mark on it.
            if !self.is_waiting(requested.intent).await? {
                let node = self.node(requested.node).await?;
                if done(&node) {
                    return Ok(Some(node));
                }
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    async fn is_waiting(&self, intent: i64) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM inbox WHERE id = $1)")
            .bind(intent)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(sql("look for a request"))
    }
}

/// Takes a request, if the node allows it now.
pub(crate) async fn take(
    tx: &mut SqliteConnection,
    ident: &Ident,
    verb: Verb,
    now: UnixMillis,
) -> Result<Requested, StoreError> {
    let node = find(tx, ident).await?;
    verb.check(&node)?;
    consent::check_request(tx, &node, &verb).await?;
    let is_pending: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM inbox WHERE node = $1
             AND json_extract(event, '$.event') = 'verb')",
    )
    .bind(node.id.to_string())
    .fetch_one(&mut *tx)
    .await
    .map_err(sql("look for requests"))?;
    if is_pending {
        return Err(StoreError::Pending(node.name));
    }
    let cursor = timeline::newest(tx).await?;
    let asked = NewEvent::from(Asked::For { verb: verb.to_string() });
    let intent = deliver(tx, node.id, &Event::Verb { request: verb }, now).await?;
    append(tx, Some(node.id), &asked.of_request(intent), now).await?;
    Ok(Requested { node: node.id, intent, cursor })
}

/// Puts an event into a node's inbox.
pub(crate) async fn deliver(
    tx: &mut SqliteConnection,
    node: NodeId,
    event: &Event,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    let put = sqlx::query("INSERT INTO inbox (node, at_ms, event) VALUES ($1, $2, $3)")
        .bind(node.to_string())
        .bind(now)
        .bind(to_json("an event", event)?)
        .execute(&mut *tx)
        .await
        .map_err(sql("deliver an event"))?;
    let id = put.last_insert_rowid();
    due::is_due(tx, node, now).await?;
    Ok(id)
}

/// What follows is this request's, if the event that was taken is one.
pub(crate) async fn begins(
    tx: &mut SqliteConnection,
    node: NodeId,
    taken: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE nodes SET request = $2 WHERE id = $1 AND EXISTS (SELECT 1 FROM inbox
             WHERE id = $2 AND json_extract(event, '$.event') = 'verb')",
    )
    .bind(node.to_string())
    .bind(taken)
    .execute(tx)
    .await
    .map_err(sql("take a request"))?;
    Ok(())
}

/// The node is not busy with a request any more.
pub(crate) async fn is_over(tx: &mut SqliteConnection, node: NodeId) -> Result<(), StoreError> {
    sqlx::query("UPDATE nodes SET request = NULL WHERE id = $1 AND request IS NOT NULL")
        .bind(node.to_string())
        .execute(tx)
        .await
        .map_err(sql("end a request"))?;
    Ok(())
}
