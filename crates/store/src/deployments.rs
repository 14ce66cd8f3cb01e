//! Deployments of the cloud: numbered, each with a plan that is written once.

use serde::de::DeserializeOwned;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    Digest, NodeId, NodeName, StepId, UnixMillis,
    agent::{Outcome, Step, StepResult},
    timeline::{RunNews, RunStep},
};

use crate::{
    AgentKind, NewEvent, Run, Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
    orders::{self, shown},
    runs::withdraw,
    timeline::append,
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

/// A run of a deployment: one is there for each, with its own times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Which, from 1.
    pub attempt: i64,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A step of a run.
#[derive(Debug, Clone, Copy)]
pub struct StepOf<'a> {
    /// Which run.
    pub run: Run,
    /// The node that it is done on.
    pub node: NodeId,
    /// That node's name.
    pub machine: &'a NodeName,
    /// Its key in the plan.
    pub key: &'a str,
    /// What it is called, for people.
    pub title: &'a str,
}

impl StepOf<'_> {
    fn named(&self) -> RunStep {
        let (key, title) = (self.key.to_owned(), self.title.to_owned());
        RunStep { key, machine: self.machine.clone(), title }
    }
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

    /// The runs of a deployment, the first first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployment_runs(&self, number: i64) -> Result<Vec<RunRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM deployment_runs WHERE deployment = $1 ORDER BY attempt")
                .bind(number)
                .fetch_all(&mut *self.read().await?)
                .await
                .map_err(sql("list a deployment's runs"))?;
        let run = |row: &SqliteRow| RunRow {
            attempt: row.get("attempt"),
            started_at: row.get("started_at"),
            ended_at: row.get("ended_at"),
            failure: row.get("failure"),
        };
        Ok(rows.iter().map(run).collect())
    }

    /// Gives a step of a run to its machine's agent, under this order's key. The same key is the
    /// same order.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn begin_step(
        &self,
        step: &StepOf<'_>,
        order: &str,
        body: &Step,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let kind = AgentKind::Installed;
        let put = orders::put(write.sql(), step.node, kind, order, body, now).await?;
        if put.is_new {
            write.has_order_for(step.node);
            let event = NewEvent::from(RunNews::StepBegan(step.named())).of_run(step.run);
            append(write.sql(), Some(step.node), &event, now).await?;
        }
        write.commit("begin a step").await
    }

    /// A run cannot go on, for a machine that has to do something is lost: the orders whose keys
    /// begin with `orders` are nobody's any more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn lose_machine(
        &self,
        run: Run,
        (node, machine): (NodeId, &NodeName),
        why: String,
        orders: &str,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        withdraw(write.sql(), orders, now).await?;
        let lost = RunNews::MachineLost { machine: machine.clone(), why };
        append(write.sql(), Some(node), &NewEvent::from(lost).of_run(run), now).await?;
        write.commit("lose a machine").await
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
        keep_verification(write.sql(), number, report).await?;
        write.commit("keep a verification").await
    }

    /// A step of a run ended. The second report of the same step changes nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_step(
        &self,
        step: &StepOf<'_>,
        outcome: &Outcome,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let new = sqlx::query(
            "INSERT INTO deployment_steps (deployment, attempt, key, ended_at, outcome)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(step.run.deployment)
        .bind(step.run.attempt)
        .bind(step.key)
        .bind(now)
        .bind(to_json("an outcome", outcome)?)
        .execute(write.sql())
        .await
        .map_err(sql("record a step"))?;
        if new.rows_affected() > 0 {
            let event = NewEvent::from(step_ended(step, outcome)).of_run(step.run);
            append(write.sql(), Some(step.node), &event, now).await?;
        }
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

/// What a verification of a deployment found.
pub(crate) async fn keep_verification(
    tx: &mut SqliteConnection,
    number: i64,
    report: &serde_json::Value,
) -> Result<(), StoreError> {
    let set = sqlx::query("UPDATE deployments SET verification = $2 WHERE number = $1")
        .bind(number)
        .bind(to_json("a verification", report)?)
        .execute(tx)
        .await
        .map_err(sql("keep a verification"))?;
    if set.rows_affected() == 0 {
        return Err(StoreError::NoDeployment(number));
    }
    Ok(())
}

fn step_ended(step: &StepOf<'_>, outcome: &Outcome) -> RunNews {
    let step = step.named();
    match outcome {
        Outcome::Done(StepResult::Cloud(done)) => {
            let (changed, took_ms) = (done.changed, done.took_ms);
            RunNews::StepDone { step, changed, note: shown(&done.note), took_ms }
        }
        // Another result is none that was ordered, and changed nothing that is known.
        Outcome::Done(_) => {
            RunNews::StepDone { step, changed: false, note: String::new(), took_ms: 0 }
        }
        Outcome::Failed(failure) => RunNews::StepFailed { step, why: shown(&failure.message) },
    }
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
