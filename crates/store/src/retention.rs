//! What is kept, and for how long: nothing here grows without end.
//!
//! Only what is over is removed: events, orders that ended and belong to no visit or run of now,
//! boot windows that are closed, keys that were revoked, deployments that others followed. The
//! newest of each stay, so that a person can look back.

use sqlx::SqliteConnection;

use crate::{
    Store,
    error::{StoreError, sql},
};

/// Rows that go in one transaction: nobody waits long for the one writer.
const BATCH: i64 = 2000;
/// A file with more free pages than this, and more of them than used ones, is written anew.
const FREE_BYTES_MAX: i64 = 128 << 20;

/// How much is kept. The defaults keep the database below 1 GiB, with a thousand nodes and a cloud
/// that is installed again each hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events that machines and agents cause: network boots, hellos, power.
    pub busy_events: i64,
    /// All others: transitions, requests, failures.
    pub other_events: i64,
    /// Orders of each node that ended.
    pub orders: i64,
    /// Closed boot windows of each node.
    pub boot_windows: i64,
    /// Revoked keys of each node.
    pub machine_keys: i64,
    /// Deployments, with their plans.
    pub deployments: i64,
    /// Deployments whose steps stay.
    pub deployments_with_steps: i64,
    /// Runs of each deployment.
    pub runs: i64,
    /// Runs of the newest deployment whose steps stay.
    pub runs_with_steps: i64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            busy_events: 200_000,
            other_events: 200_000,
            orders: 500,
            boot_windows: 16,
            machine_keys: 4,
            deployments: 100,
            deployments_with_steps: 20,
            runs: 1000,
            runs_with_steps: 20,
        }
    }
}

/// How much was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Orders.
    pub orders: u64,
    /// Boot windows.
    pub boot_windows: u64,
    /// Keys.
    pub machine_keys: u64,
    /// Deployments.
    pub deployments: u64,
    /// Runs of deployments.
    pub runs: u64,
    /// Steps of deployments.
    pub steps: u64,
}

impl Pruned {
    /// All together.
    pub fn rows(&self) -> u64 {
        let Self { events, orders, boot_windows, machine_keys, deployments, runs, steps } = self;
        events + orders + boot_windows + machine_keys + deployments + runs + steps
    }
}

/// Events of machines that are on by themselves, as the timeline has their kinds.
const BUSY: &str = "kind IN ('netboot', 'agent', 'power', 'security')";

impl Store {
    /// Removes what is over and more than is kept. `rollouts` begins the keys of a cloud's orders,
    /// before `DEPLOYMENT/ATTEMPT/`. Interrupted, it goes on with the next call.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn prune(&self, keep: &Keep, rollouts: &str) -> Result<Pruned, StoreError> {
        Ok(Pruned {
            events: self.prune_events(keep).await?,
            orders: self.prune_orders(keep, rollouts).await?,
            boot_windows: self
                .remove(
                    "boot windows",
                    "DELETE FROM boot_windows WHERE id IN (SELECT id FROM (
                         SELECT id, closed_at, row_number() OVER (
                             PARTITION BY node ORDER BY id DESC) AS place FROM boot_windows)
                     WHERE place > $1 AND closed_at IS NOT NULL LIMIT $2)",
                    &[keep.boot_windows],
                )
                .await?,
            machine_keys: self
                .remove(
                    "keys of machines",
                    "DELETE FROM machine_keys WHERE key_hash IN (SELECT key_hash FROM (
                         SELECT key_hash, row_number() OVER (
                             PARTITION BY node ORDER BY created_at DESC, key_hash) AS place
                         FROM machine_keys WHERE revoked_at IS NOT NULL)
                     WHERE place > $1 LIMIT $2)",
                    &[keep.machine_keys],
                )
                .await?,
            steps: self.prune_steps(keep).await?,
            runs: self
                .remove(
                    "runs",
                    "DELETE FROM deployment_runs WHERE rowid IN (
                         SELECT deployment_runs.rowid FROM deployment_runs
                         JOIN deployments ON number = deployment
                         WHERE deployment_runs.attempt <= deployments.attempt - $1 LIMIT $2)",
                    &[keep.runs],
                )
                .await?,
            deployments: self
                .remove(
                    "deployments",
                    "DELETE FROM deployments WHERE number IN (
                         SELECT number FROM deployments WHERE ended_at IS NOT NULL
                             AND number <= (SELECT max(number) FROM deployments) - $1
                             AND NOT EXISTS (SELECT 1 FROM deployment_steps
                                 WHERE deployment = number)
                         LIMIT $2)",
                    &[keep.deployments],
                )
                .await?,
        })
    }

    /// By number alone: a host whose clock was years ahead for a moment must not forget all.
    async fn prune_events(&self, keep: &Keep) -> Result<u64, StoreError> {
        let mut removed = 0;
        for (class, most) in
            [(BUSY.to_owned(), keep.busy_events), (format!("NOT {BUSY}"), keep.other_events)]
        {
            // The newest that has to go: all of this class up to it do.
            let last: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT id FROM events WHERE {class} ORDER BY id DESC LIMIT 1 OFFSET $1"
            )))
            .bind(most)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("count events"))?;
            let Some(last) = last else { continue };
            let delete = format!(
                "DELETE FROM events WHERE id IN (
                     SELECT id FROM events WHERE id <= $1 AND {class} ORDER BY id LIMIT $2)"
            );
            removed += self.remove("events", &delete, &[last]).await?;
        }
        Ok(removed)
    }

    /// An order's key says that it was given: it may go when nobody can give it again. Those of a
    /// ramdisk belong to the node's visit, with which their key begins, those of a rollout to its run.
    /// No time is asked: a clock may have been set between the two.
    async fn prune_orders(&self, keep: &Keep, rollouts: &str) -> Result<u64, StoreError> {
        let newest: Option<String> = sqlx::query_scalar(
            "SELECT number || '/' || attempt || '/' FROM deployments ORDER BY number DESC LIMIT 1",
        )
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("find the newest deployment"))?;
        let current = format!("{rollouts}{}", newest.unwrap_or_default());
        let mut removed = 0;
        loop {
            let mut write = self.write().await?;
            let gone = sqlx::query(
                "DELETE FROM orders WHERE id IN (SELECT id FROM (
                     SELECT orders.id, orders.key, agent, nodes.visit, reported_at, withdrawn_at,
                         row_number() OVER (
                             PARTITION BY node ORDER BY orders.rowid DESC) AS place
                     FROM orders JOIN nodes ON nodes.id = orders.node)
                 WHERE place > $1 AND (reported_at IS NOT NULL OR withdrawn_at IS NOT NULL)
                     AND (CASE agent WHEN 'ramdisk' THEN CAST(key AS INTEGER) < visit
                         ELSE substr(key, 1, length($2)) <> $2 END)
                 LIMIT $3)",
            )
            .bind(keep.orders)
            .bind(&current)
            .bind(BATCH)
            .execute(write.sql())
            .await
            .map_err(sql("remove orders"))?
            .rows_affected();
            if gone == 0 {
                return Ok(removed);
            }
            write.commit("remove orders").await?;
            removed += gone;
        }
    }

    async fn prune_steps(&self, keep: &Keep) -> Result<u64, StoreError> {
        let of_older = "DELETE FROM deployment_steps WHERE rowid IN (
             SELECT rowid FROM deployment_steps
             WHERE deployment <= (SELECT max(number) FROM deployments) - $1 LIMIT $2)";
        let of_runs = "DELETE FROM deployment_steps WHERE rowid IN (
             SELECT deployment_steps.rowid FROM deployment_steps
             JOIN deployments ON number = deployment
             WHERE deployment_steps.attempt <= deployments.attempt - $1 LIMIT $2)";
        let older = self.remove("steps", of_older, &[keep.deployments_with_steps]).await?;
        Ok(older + self.remove("steps", of_runs, &[keep.runs_with_steps]).await?)
    }

    /// Removes in batches; the last parameter of `delete` is the batch's size.
    async fn remove(
        &self,
        what: &'static str,
        delete: &str,
        parameters: &[i64],
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let mut write = self.write().await?;
            let gone = delete_some(write.sql(), delete, parameters).await;
            let gone = gone.map_err(sql("remove what is over"))?;
            if gone == 0 {
                return Ok(removed);
            }
            write.commit("remove what is over").await?;
            tracing::debug!(what, gone, "removed");
            removed += gone;
        }
    }

    /// Gives room back to the file system, if there is much to give.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn shrink(&self) -> Result<bool, StoreError> {
        let mut db = self.read().await?;
        let pragma = |text: &'static str| sqlx::query_scalar::<_, i64>(text);
        let failed = || sql("measure the database");
        let page = pragma("PRAGMA page_size").fetch_one(&mut *db).await.map_err(failed())?;
        let pages = pragma("PRAGMA page_count").fetch_one(&mut *db).await.map_err(failed())?;
        let free = pragma("PRAGMA freelist_count").fetch_one(&mut *db).await.map_err(failed())?;
        drop(db);
        if free.saturating_mul(page) < FREE_BYTES_MAX || free * 2 < pages {
            return Ok(false);
        }
        self.vacuum().await?;
        Ok(true)
    }
}

async fn delete_some(
    tx: &mut SqliteConnection,
    delete: &str,
    parameters: &[i64],
) -> Result<u64, sqlx::Error> {
    // Nothing of it comes from outside: each text stands in this file.
    let mut query = sqlx::query(sqlx::AssertSqlSafe(delete.to_owned()));
    for parameter in parameters {
        query = query.bind(*parameter);
    }
    query.bind(BATCH).execute(tx).await.map(|done| done.rows_affected())
}
