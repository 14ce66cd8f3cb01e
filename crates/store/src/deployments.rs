//! Deployments of the cloud: numbered, each with a plan that is written once.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{Digest, NodeId, StepId, UnixMillis, agent::Outcome};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// A deployment. `P` is the plan's type, which is the cloud crate's.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRow<P> {
    /// Its number, from 1.
    pub number: i64,
    /// Digest of its plan.
    pub digest: Digest,
    /// Its plan.
    pub plan: P,
    /// When it was begun.
    pub created_at: UnixMillis,
    /// How often it was run, from 1.
    pub attempt: i64,
    /// When that run began.
    pub started_at: UnixMillis,
    /// When that run ended.
    pub ended_at: Option<UnixMillis>,
    /// Why that run failed, if it did.
    pub failure: Option<String>,
    /// What the last verification found.
    pub verification: Option<serde_json::Value>,
}

impl<P> DeploymentRow<P> {
    /// Whether it ended well.
    pub fn is_complete(&self) -> bool {
        self.ended_at.is_some() && self.failure.is_none()
    }
}

/// A step that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// Its key in the plan.
    pub key: String,
    /// In which run.
    pub attempt: i64,
    /// When.
    pub ended_at: UnixMillis,
    /// How.
    pub outcome: Outcome,
}

/// An order of a rollout as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutOrder {
    /// The order.
    pub id: StepId,
    /// Whose.
    pub node: NodeId,
    /// Its key.
    pub key: String,
    /// When it was put.
    pub created_at: UnixMillis,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
}

impl Store {
    /// Begins a run of this plan. The newest deployment is run again if it has the same plan: a run
    /// that never ended (the daemon died) goes on, one that did is followed by the next. Another
    /// plan is another deployment. With a run that is new, the open orders of earlier ones, whose
    /// keys begin with `orders`, are nobody's any more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn begin_deployment<P: Serialize + DeserializeOwned>(
        &self,
        plan: &P,
        digest: &Digest,
        orders: &str,
        now: UnixMillis,
    ) -> Result<DeploymentRow<P>, StoreError> {
        let mut write = self.write().await?;
        let newest = sqlx::query(
            "SELECT number, digest, ended_at FROM deployments ORDER BY number DESC LIMIT 1",
        )
        .fetch_optional(write.sql())
        .await
        .map_err(sql("find the newest deployment"))?;
        let same = newest.filter(|row| row.get::<&str, _>("digest") == digest.to_string());
        let number: i64 = match same {
            Some(row) => {
                let number = row.get("number");
                if row.get::<Option<i64>, _>("ended_at").is_some() {
                    sqlx::query(
                        "UPDATE deployments SET attempt = attempt + 1, started_at = $2,
                             ended_at = NULL, failure = NULL WHERE number = $1",
                    )
                    .bind(number)
                    .bind(now)
                    .execute(write.sql())
                    .await
                    .map_err(sql("begin a deployment's next run"))?;
                    withdraw(write.sql(), orders, now).await?;
                }
                number
            }
            None => {
                withdraw(write.sql(), orders, now).await?;
                sqlx::query_scalar(
                    "INSERT INTO deployments (digest, plan, created_at, attempt, started_at)
                     VALUES ($1, $2, $3, 1, $3) RETURNING number",
                )
                .bind(digest.to_string())
                .bind(to_json("a plan", plan)?)
                .bind(now)
                .fetch_one(write.sql())
                .await
                .map_err(sql("begin a deployment"))?
            }
        };
        write.commit("begin a deployment").await?;
        self.deployment(number).await?.ok_or(StoreError::NoDeployment(number))
    }

    /// One deployment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployment<P: DeserializeOwned>(
        &self,
        number: i64,
    ) -> Result<Option<DeploymentRow<P>>, StoreError> {
        let row = sqlx::query("SELECT * FROM deployments WHERE number = $1")
            .bind(number)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("read a deployment"))?;
        row.as_ref().map(deployment).transpose()
    }

    /// All deployments, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployments<P: DeserializeOwned>(
        &self,
    ) -> Result<Vec<DeploymentRow<P>>, StoreError> {
        let rows = sqlx::query("SELECT * FROM deployments ORDER BY number DESC")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(sql("list the deployments"))?;
        rows.iter().map(deployment).collect()
    }

    /// The run ended: well, or with one sentence.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_deployment(
        &self,
        number: i64,
        failure: Option<&str>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("UPDATE deployments SET ended_at = $2, failure = $3 WHERE number = $1")
            .bind(number)
            .bind(now)
            .bind(failure)
            .execute(write.sql())
            .await
            .map_err(sql("end a deployment"))?;
        write.commit("end a deployment").await
    }

    /// What a verification of this deployment found.
    ///
    /// # Errors
    /// There is none of that number, or the database cannot be written.
    pub async fn set_verification(
        &self,
        number: i64,
        report: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let set = sqlx::query("UPDATE deployments SET verification = $2 WHERE number = $1")
            .bind(number)
            .bind(to_json("a verification", report)?)
            .execute(write.sql())
            .await
            .map_err(sql("keep a verification"))?;
        if set.rows_affected() == 0 {
            return Err(StoreError::NoDeployment(number));
        }
        write.commit("keep a verification").await
    }

    /// A step of a run ended. The second report of the same step changes nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_step(
        &self,
        number: i64,
        attempt: i64,
        key: &str,
        outcome: &Outcome,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO deployment_steps (deployment, attempt, key, ended_at, outcome)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(number)
        .bind(attempt)
        .bind(key)
        .bind(now)
        .bind(to_json("an outcome", outcome)?)
        .execute(write.sql())
        .await
        .map_err(sql("record a step"))?;
        write.commit("record a step").await
    }

    /// The steps that ended, in the order in which they did.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployment_steps(&self, number: i64) -> Result<Vec<StepRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM deployment_steps WHERE deployment = $1 ORDER BY attempt, ended_at, rowid",
        )
        .bind(number)
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("list a deployment's steps"))?;
        let step = |row: &SqliteRow| {
            Ok(StepRow {
                key: row.get("key"),
                attempt: row.get("attempt"),
                ended_at: row.get("ended_at"),
                outcome: from_json("outcome", row.get("outcome"))?,
            })
        };
        rows.iter().map(step).collect()
    }

    /// The orders whose keys begin with `prefix`, by key. Those that were withdrawn are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn orders_under(&self, prefix: &str) -> Result<Vec<RolloutOrder>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, node, key, created_at, outcome FROM orders
             WHERE substr(key, 1, length($1)) = $1 AND withdrawn_at IS NULL ORDER BY key",
        )
        .bind(prefix)
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("list orders"))?;
        let order = |row: &SqliteRow| {
            let outcome: Option<&str> = row.get("outcome");
            Ok(RolloutOrder {
                id: row.get::<&str, _>("id").parse().map_err(corrupt("step id"))?,
                node: row.get::<&str, _>("node").parse().map_err(corrupt("node id"))?,
                key: row.get("key"),
                created_at: row.get("created_at"),
                outcome: outcome.map(|o| from_json("outcome", o)).transpose()?,
            })
        };
        rows.iter().map(order).collect()
    }

    /// The installed agents' open orders whose keys begin with `prefix` are void, and what they
    /// carried is forgotten.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn withdraw_orders_under(
        &self,
        prefix: &str,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        withdraw(write.sql(), prefix, now).await?;
        write.commit("withdraw orders").await
    }
}

async fn withdraw(
    tx: &mut SqliteConnection,
    prefix: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE orders SET withdrawn_at = $2, body = NULL
         WHERE substr(key, 1, length($1)) = $1 AND agent = 'installed'
             AND withdrawn_at IS NULL AND reported_at IS NULL",
    )
    .bind(prefix)
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("withdraw orders"))?;
    Ok(())
}

fn deployment<P: DeserializeOwned>(row: &SqliteRow) -> Result<DeploymentRow<P>, StoreError> {
    let verification: Option<&str> = row.get("verification");
    Ok(DeploymentRow {
        number: row.get("number"),
        digest: row.get::<&str, _>("digest").parse().map_err(corrupt("plan's digest"))?,
        plan: from_json("plan", row.get("plan"))?,
        created_at: row.get("created_at"),
        attempt: row.get("attempt"),
        started_at: row.get("started_at"),
        ended_at: row.get("ended_at"),
        failure: row.get("failure"),
        verification: verification.map(|v| from_json("verification", v)).transpose()?,
    })
}
