//! Orders: typed steps that wait for an agent to fetch them, and how they ended.

use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection};
use undercloud_model::{
    Digest, NodeId, Secret, StepId, UnixMillis,
    agent::{Outcome, Progress, Report, Step, StepOrder, cloud::CloudStep},
    node::Event,
    timeline::AgentCall,
};
use uuid::Uuid;

use crate::{
    Store,
    agents::{AgentKind, Principal, hash},
    consent,
    error::{StoreError, corrupt, from_json, sql, to_json},
    requests::deliver,
    timeline::append,
};

/// Progress of one order is written at most this often.
const PROGRESS_EVERY_MS: i64 = 1000;
/// What a machine says is shown up to this length.
const SHOWN_CHARS_MAX: usize = 300;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRecord {
    /// Its id.
    pub id: StepId,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// How far it is, if the agent said.
    pub progress: Option<OrderProgress>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProgress {
    /// What it does: `write_image`.
    pub name: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// An order that was put.
pub(crate) struct Put {
    pub(crate) id: StepId,
    /// Nobody had put it before.
    pub(crate) is_new: bool,
}

pub(crate) async fn put(
    tx: &mut SqliteConnection,
    node: NodeId,
    agent: AgentKind,
    key: &str,
    step: &Step,
    now: UnixMillis,
) -> Result<Put, StoreError> {
    if let Some(id) = order_id(&mut *tx, node, key).await? {
        return Ok(Put { id, is_new: false });
    }
    consent::consent(&mut *tx, node, step.erases()).await?;
    let id = StepId::from_uuid(Uuid::new_v4());
    let (name, blob) = describe(step);
    sqlx::query(
        "INSERT INTO orders (id, node, agent, key, name, body, blob, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.to_string())
    .bind(node.to_string())
    .bind(agent.as_str())
    .bind(key)
    .bind(name)
    .bind(to_json("a step", step)?)
    .bind(blob.map(|d| d.to_string()))
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("put an order"))?;
    Ok(Put { id, is_new: true })
}

impl Store {
    /// Puts a step down for a node's agent. The same key is the same order: a second call changes
    /// nothing and returns the first one's id. `machine_key`, where the step carries one to the
    /// machine, becomes valid with it.
    ///
    /// # Errors
    /// It erases a disk and nobody agreed to that; or the database cannot be written.
    pub async fn put_order(
        &self,
        node: NodeId,
        agent: AgentKind,
        key: &str,
        step: &Step,
        machine_key: Option<&Secret>,
        now: UnixMillis,
    ) -> Result<StepId, StoreError> {
        let mut write = self.write().await?;
        let Put { id, is_new } = put(write.sql(), node, agent, key, step, now).await?;
        if !is_new {
            return Ok(id);
        }
        write.has_order_for(node);
        if let Some(secret) = machine_key {
            sqlx::query(
                "INSERT INTO machine_keys (key_hash, node, created_at) VALUES ($1, $2, $3)",
            )
            .bind(hash(secret.expose()))
            .bind(node.to_string())
            .bind(now)
            .execute(write.sql())
            .await
            .map_err(sql("keep a machine's key"))?;
        }
        write.commit("put an order").await?;
        Ok(id)
    }

    /// The id of the order that was put under `key`, if one was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_order(&self, node: NodeId, key: &str) -> Result<Option<StepId>, StoreError> {
        order_id(&mut *self.read().await?, node, key).await
    }

    /// An order as it stands.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn order(&self, id: StepId) -> Result<Option<OrderRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM orders WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("read an order"))?;
        let Some(row) = row else { return Ok(None) };
        let outcome: Option<&str> = row.get("outcome");
        let outcome = outcome.map(|o| from_json("outcome", o)).transpose()?;
        let bytes = |column| row.get::<Option<i64>, _>(column).and_then(|n| u64::try_from(n).ok());
        let progress = bytes("done_bytes").zip(bytes("total_bytes")).map(|(done, total)| {
            OrderProgress { name: row.get("name"), done_bytes: done, total_bytes: total }
        });
        Ok(Some(OrderRecord { id, outcome, progress }))
    }

    /// What the agent is to do now.
    /// Leaves out those that it is `busy` with.
    pub(crate) async fn current_order(
        &self,
        principal: &Principal,
        busy: &[StepId],
    ) -> Result<Option<StepOrder>, StoreError> {
        let row = sqlx::query(
            "SELECT id, body FROM orders WHERE node = $1 AND agent = $2 AND body IS NOT NULL
                 AND reported_at IS NULL AND withdrawn_at IS NULL
                 AND id NOT IN (SELECT value FROM json_each($3))
             ORDER BY created_at, rowid LIMIT 1",
        )
        .bind(principal.node.to_string())
        .bind(principal.kind.as_str())
        .bind(to_json("the busy orders", &busy)?)
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("find an order"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StepOrder {
            id: row.get::<&str, _>("id").parse().map_err(corrupt("step id"))?,
            step: from_json("step", row.get("body"))?,
        }))
    }

    /// Whether the agent's order names this blob.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn may_fetch(
        &self,
        principal: &Principal,
        blob: &Digest,
    ) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM orders WHERE node = $1 AND agent = $2 AND blob = $3
                 AND reported_at IS NULL AND withdrawn_at IS NULL)",
        )
        .bind(principal.node.to_string())
        .bind(principal.kind.as_str())
        .bind(blob.to_string())
        .fetch_one(&mut *self.read().await?)
        .await
        .map_err(sql("find an order"))
    }

    /// How far a step is. Counts as a heartbeat.
    ///
    /// # Errors
    /// It is no open order of that agent's; or the database cannot be written.
    pub async fn agent_progress(
        &self,
        principal: &Principal,
        progress: &Progress,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.touch(principal, now).await?;
        let is_early = |at: UnixMillis| now.saturating_sub(at) < PROGRESS_EVERY_MS;
        if self.memory().progress_written.get(&progress.id).copied().is_some_and(is_early) {
            return Ok(());
        }
        // Before anything is remembered or written: an agent may say what it likes.
        if !self.is_open_order(principal, progress.id).await? {
            return Err(StoreError::NotOrdered(progress.id));
        }
        {
            let mut memory = self.memory();
            // Of orders that were withdrawn there is no report that would take them out.
            memory.progress_written.retain(|_, at| is_early(*at));
            memory.progress_written.insert(progress.id, now);
        }
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE orders SET done_bytes = $3, total_bytes = $4
             WHERE id = $1 AND node = $2 AND reported_at IS NULL",
        )
        .bind(progress.id.to_string())
        .bind(principal.node.to_string())
        .bind(bytes(progress.done_bytes))
        .bind(bytes(progress.total_bytes))
        .execute(write.sql())
        .await
        .map_err(sql("record progress"))?;
        write.commit("record progress").await
    }

    async fn is_open_order(&self, agent: &Principal, id: StepId) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM orders WHERE id = $1 AND node = $2 AND agent = $3
                 AND reported_at IS NULL AND withdrawn_at IS NULL)",
        )
        .bind(id.to_string())
        .bind(agent.node.to_string())
        .bind(agent.kind.as_str())
        .fetch_one(&mut *self.read().await?)
        .await
        .map_err(sql("find an order"))
    }

    /// How a step ended. Durable when this returns; a second report of the same step, or one that
    /// nobody waits for any more, changes nothing. The report's log lines are the caller's to keep.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn agent_report(
        &self,
        principal: &Principal,
        report: &Report,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.touch(principal, now).await?;
        self.memory().progress_written.remove(&report.id);
        let mut write = self.write().await?;
        let taken = sqlx::query(
            "UPDATE orders SET reported_at = $4, outcome = $5, body = NULL
             WHERE id = $1 AND node = $2 AND agent = $3
                 AND reported_at IS NULL AND withdrawn_at IS NULL RETURNING name",
        )
        .bind(report.id.to_string())
        .bind(principal.node.to_string())
        .bind(principal.kind.as_str())
        .bind(now)
        .bind(to_json("an outcome", &report.outcome)?)
        .fetch_optional(write.sql())
        .await
        .map_err(sql("take a report"))?;
        let Some(row) = taken else { return Ok(()) };
        let name: String = row.get("name");
        // What an installed system's agent did is on the timeline as the run's that ordered it.
        if principal.kind == AgentKind::Ramdisk {
            let event = match &report.outcome {
                Outcome::Done(_) => AgentCall::Done { step: name },
                Outcome::Failed(failure) => {
                    AgentCall::CouldNot { step: name, why: shown(&failure.message) }
                }
            };
            append(write.sql(), Some(principal.node), &event.into(), now).await?;
            let outcome = Box::new(report.outcome.clone());
            let event = Event::StepReported { step: report.id, outcome };
            deliver(write.sql(), principal.node, &event, now).await?;
        }
        write.commit("take a report").await
    }
}

/// The name on the timeline, and the blob that it names.
fn describe(step: &Step) -> (String, Option<Digest>) {
    match step {
        Step::Inspect => ("inspection".to_owned(), None),
        Step::WipeDisks { .. } => ("wipe".to_owned(), None),
        Step::WriteImage { image, .. } => ("write".to_owned(), Some(image.blob)),
        Step::Cloud { step } => {
            let blob = match &**step {
                CloudStep::MountImages(store) => Some(store.blob),
                CloudStep::UpdateAgent { program } => program.map(|program| program.blob),
                CloudStep::Network(_)
                | CloudStep::PullImage(_)
                | CloudStep::ApplyService(_)
                | CloudStep::AwaitHealth(_)
                | CloudStep::RunOnce(_)
                | CloudStep::EnsureIdentity(_)
                | CloudStep::RetireServices { .. } => None,
            };
            (cloud_step_name(step), blob)
        }
    }
}

fn cloud_step_name(step: &CloudStep) -> String {
    match step {
        CloudStep::Network(_) => "networks and firewall".to_owned(),
        CloudStep::UpdateAgent { .. } => "update of the agent".to_owned(),
        CloudStep::MountImages(_) => "container images".to_owned(),
        CloudStep::PullImage(image) => format!("pull of {}", image.name),
        CloudStep::ApplyService(service) => format!("service {}", service.name),
        CloudStep::AwaitHealth(check) => format!("health of {}", check.service),
        CloudStep::RunOnce(run) => format!("bootstrap {} of {}", run.name, run.service),
        CloudStep::EnsureIdentity(_) => "users and endpoints".to_owned(),
        CloudStep::RetireServices { .. } => "retirement of services".to_owned(),
    }
}

async fn order_id(
    db: &mut SqliteConnection,
    node: NodeId,
    key: &str,
) -> Result<Option<StepId>, StoreError> {
    let id: Option<String> =
        sqlx::query_scalar("SELECT id FROM orders WHERE node = $1 AND key = $2")
            .bind(node.to_string())
            .bind(key)
            .fetch_optional(db)
            .await
            .map_err(sql("find an order"))?;
    id.map(|id| id.parse().map_err(corrupt("step id"))).transpose()
}

/// What a machine said, as far as it is shown.
pub(crate) fn shown(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// The ramdisk's open orders are void, and what they carried is forgotten.
pub(crate) async fn withdraw_ramdisk(
    tx: &mut SqliteConnection,
    node: NodeId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE orders SET withdrawn_at = $2, body = NULL
         WHERE node = $1 AND agent = 'ramdisk' AND withdrawn_at IS NULL AND reported_at IS NULL",
    )
    .bind(node.to_string())
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("withdraw orders"))?;
    Ok(())
}
