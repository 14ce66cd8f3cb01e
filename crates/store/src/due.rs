//! Whose turn is due, and who gives it.
//!
//! `due_at` is written by whoever writes something that a turn has to look at, in that transaction.
//! A lease is taken for the nodes that are due, all at once; it counts the version up, so that a
//! turn of somebody whose lease ran out cannot write any more.

use sqlx::{Row as _, SqliteConnection};
use undercloud_model::{
    NodeId, UnixMillis,
    node::{Node, Phase, ProvisionState},
};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// Who gives turns, and for how long at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which process.
    pub owner: String,
    /// Until when nobody else gives them.
    pub until: UnixMillis,
}

/// A node as far as it decides whether its power is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Which node.
    pub id: NodeId,
    /// Its state.
    pub state: ProvisionState,
    /// What it is at.
    pub phase: Phase,
    /// Whether it is in maintenance.
    pub maintenance: bool,
}

impl Watched {
    /// Of a node's record.
    pub fn of(node: &Node) -> Self {
        let (state, phase) = (node.state, node.phase.clone());
        Self { id: node.id, state, phase, maintenance: node.maintenance.is_some() }
    }
}

/// Which nodes: work with those whose BMC says nothing takes its whole time, each try of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those whose BMC told the power when it was asked last.
    Heard,
    /// The others: never asked, or silent.
    Unheard,
}

/// Both are asked after every write: `nodes_by_due` answers them, and nothing is walked over.
pub(crate) const DUE: &str = "SELECT id, lease_owner IS $2 AND lease_until > $3 AS held FROM nodes
     WHERE due_at <= $1 AND (lease_owner IS NULL OR lease_owner = $2 OR lease_until <= $1)
         AND id NOT IN (SELECT value FROM json_each($4)) AND (power IS NULL) = $6
     ORDER BY due_at, id LIMIT $5";
pub(crate) const NEXT: &str = "SELECT min(due_at) FROM nodes
     WHERE due_at IS NOT NULL AND id NOT IN (SELECT value FROM json_each($1))
         AND (power IS NULL) = $2";

impl Store {
    /// Such nodes whose turn is due, the longest waiting first, at most `limit`; theirs are `lease`'s
    /// owner's from now on. Those that are `busy` are left out, and those that somebody else has.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn take_due(
        &self,
        lease: &Lease,
        (whose, busy): (Whose, &[NodeId]),
        limit: usize,
        now: UnixMillis,
    ) -> Result<Vec<NodeId>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(DUE)
            .bind(now)
            .bind(&lease.owner)
            // A lease that is about to end is taken anew.
            .bind(now.saturating_add(lease.until.saturating_sub(now) / 2))
            .bind(to_json("the busy nodes", &busy)?)
            .bind(limit)
            .bind(whose == Whose::Unheard)
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(sql("read the queue"))?;
        let mut taken = Vec::with_capacity(rows.len());
        let mut fresh = Vec::new();
        for row in &rows {
            let id: NodeId = row.get::<&str, _>("id").parse().map_err(corrupt("node id"))?;
            if row.get::<bool, _>("held") { taken.push(id) } else { fresh.push(id) }
        }
        if !fresh.is_empty() {
            let mut write = self.write().await?;
            for id in fresh {
                if lease_one(write.sql(), id, lease, now).await? {
                    taken.push(id);
                }
            }
            write.commit("take a lease").await?;
        }
        Ok(taken)
    }

    /// When the next turn is due of such a node that is not `busy`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(
        &self,
        whose: Whose,
        busy: &[NodeId],
    ) -> Result<Option<UnixMillis>, StoreError> {
        sqlx::query_scalar(NEXT)
            .bind(to_json("the busy nodes", &busy)?)
            .bind(whose == Whose::Unheard)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(sql("read the queue"))
    }

    /// A turn looked and there was nothing to write: the next is due then. Nothing, if somebody
    /// wrote the node meanwhile; says whether it did.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn reschedule(
        &self,
        node: &Node,
        due_at: Option<UnixMillis>,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let set = sqlx::query(
            "UPDATE nodes SET due_at = $3 WHERE id = $1 AND version = $2
                 AND NOT EXISTS (SELECT 1 FROM inbox WHERE node = $1)
                 AND NOT EXISTS (SELECT 1 FROM actions WHERE node = $1)",
        )
        .bind(node.id.to_string())
        .bind(node.version)
        .bind(due_at)
        .execute(write.sql())
        .await
        .map_err(sql("queue a node"))?;
        if set.rows_affected() == 0 {
            return Ok(false);
        }
        write.commit("queue a node").await?;
        Ok(true)
    }

    /// The turns of these nodes go on: nobody else gives them until then.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn renew_leases(&self, lease: &Lease, nodes: &[NodeId]) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE nodes SET lease_until = $2
             WHERE lease_owner = $1 AND id IN (SELECT value FROM json_each($3))",
        )
        .bind(&lease.owner)
        .bind(lease.until)
        .bind(to_json("the busy nodes", &nodes)?)
        .execute(write.sql())
        .await
        .map_err(sql("renew leases"))?;
        write.commit("renew leases").await
    }

    /// Takes all leases away: whoever had them is known to be gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_leases(&self) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let ended = sqlx::query(
            "UPDATE nodes SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL",
        )
        .execute(write.sql())
        .await
        .map_err(sql("end leases"))?;
        if ended.rows_affected() == 0 {
            return Ok(());
        }
        write.commit("end leases").await
    }

    /// All nodes, as far as it decides whether their power is looked at. For the beginning.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn watched(&self) -> Result<Vec<Watched>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, state, phase, maintenance IS NOT NULL AS maintenance FROM nodes ORDER BY id",
        )
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("list the nodes"))?;
        let row = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Watched {
                id: row.get::<&str, _>("id").parse().map_err(corrupt("node id"))?,
                state: row.get::<&str, _>("state").parse().map_err(corrupt("provision state"))?,
                phase: from_json("phase", row.get("phase"))?,
                maintenance: row.get("maintenance"),
            })
        };
        rows.iter().map(row).collect()
    }
}

async fn lease_one(
    tx: &mut SqliteConnection,
    node: NodeId,
    lease: &Lease,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let taken = sqlx::query(
        "UPDATE nodes SET lease_owner = $2, lease_until = $3, version = version + 1
         WHERE id = $1 AND (lease_owner IS NULL OR lease_owner = $2 OR lease_until <= $4)",
    )
    .bind(node.to_string())
    .bind(&lease.owner)
    .bind(lease.until)
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("take a lease"))?;
    Ok(taken.rows_affected() == 1)
}

/// Something is to be looked at now.
pub(crate) async fn is_due(
    tx: &mut SqliteConnection,
    node: NodeId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE nodes SET due_at = $2 WHERE id = $1 AND (due_at IS NULL OR due_at > $2)")
        .bind(node.to_string())
        .bind(now)
        .execute(tx)
        .await
        .map_err(sql("queue a node"))?;
    Ok(())
}

/// When the next turn is due after this one: now, where something waits; else when it said.
pub(crate) async fn after_turn(
    tx: &mut SqliteConnection,
    node: NodeId,
    due_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE nodes SET due_at = CASE
             WHEN EXISTS (SELECT 1 FROM inbox WHERE node = $1)
                 OR EXISTS (SELECT 1 FROM actions WHERE node = $1) THEN $3 ELSE $2 END
         WHERE id = $1",
    )
    .bind(node.to_string())
    .bind(due_at)
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("queue a node"))?;
    Ok(())
}
