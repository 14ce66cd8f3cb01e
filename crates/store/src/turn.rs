//! The engine's turns: what to look at, and what was decided.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    NodeId, PowerState, Secret, UnixMillis,
    node::{Action, BootProgress, Effect, Event, Next, Node},
};

use crate::{
    NewEvent, Store, boots, consent, due,
    error::{StoreError, from_json, sql, to_json},
    nodes::{self, save, select_node},
    orders, requests,
    timeline::{append, unword},
};

/// Everything that a turn looks at.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The node.
    pub node: Node,
    /// The password of its BMC.
    pub bmc_password: Secret,
    /// What is to be done and not known to be done.
    pub action: Option<PendingAction>,
    /// What happened and nobody looked at, with its number.
    pub inbox: Option<(i64, Event)>,
    /// When the ramdisk called last, if one may call.
    pub ramdisk_seen_at: Option<UnixMillis>,
    /// How far the network boot of the newest window came.
    pub boot_progress: BootProgress,
    /// When that window was opened.
    pub boot_opened_at: Option<UnixMillis>,
    /// When its turn was due.
    pub due_at: Option<UnixMillis>,
}

/// An action that is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAction {
    /// The same key is the same action.
    pub key: String,
    /// What to do.
    pub action: Action,
}

/// A turn's decision, written in one transaction.
#[derive(Debug, Clone)]
pub struct TurnCommit<'a> {
    /// The node as it was looked at.
    pub node: &'a Node,
    /// Where it goes; nothing if it stays.
    pub next: Option<&'a Next>,
    /// The inbox entry that was looked at.
    pub taken: Option<i64>,
    /// The action that was done.
    pub done: Option<&'a str>,
    /// Power as it was seen: on, off, or not at all (the BMC is silent).
    pub power: Option<Option<PowerState>>,
    /// When the clock alone makes the next turn due.
    pub due_at: Option<UnixMillis>,
    /// What to put on the timeline.
    pub events: Vec<NewEvent>,
}

impl Store {
    /// What a turn of `node` looks at; nothing if the node is gone.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn situation(&self, node: NodeId) -> Result<Option<Situation>, StoreError> {
        // One query: it is asked for each look at power.
        let row = sqlx::query(select_node!(
            ", actions.key AS action_key, actions.action AS action,
                 inbox.id AS inbox_id, inbox.event AS event, agent_sessions.seen_at AS seen_at,
                 boot_windows.progress AS progress, boot_windows.opened_at AS window_opened_at
             FROM nodes
             LEFT JOIN actions ON actions.rowid = (SELECT a.rowid FROM actions AS a
                 WHERE a.node = nodes.id ORDER BY a.position LIMIT 1)
             LEFT JOIN inbox ON inbox.id = (SELECT min(i.id) FROM inbox AS i
                 WHERE i.node = nodes.id)
             LEFT JOIN agent_sessions ON agent_sessions.node = nodes.id
             LEFT JOIN boot_windows ON boot_windows.id = (SELECT max(w.id) FROM boot_windows AS w
                 WHERE w.node = nodes.id)
             WHERE nodes.id = $1"
        ))
        .bind(node.to_string())
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("read what a turn looks at"))?;
        row.as_ref().map(|row| self.situation_of(row)).transpose()
    }

    fn situation_of(&self, row: &SqliteRow) -> Result<Situation, StoreError> {
        let node = nodes::node(row)?;
        let action = match row.get::<Option<String>, _>("action_key") {
            None => None,
            Some(key) => {
                Some(PendingAction { key, action: from_json("action", row.get("action"))? })
            }
        };
        let inbox = match row.get::<Option<i64>, _>("inbox_id") {
            None => None,
            Some(id) => Some((id, from_json("event", row.get("event"))?)),
        };
        let progress = row.get::<Option<&str>, _>("progress");
        let progress = progress.map(|progress| unword("boot progress", progress)).transpose()?;
        Ok(Situation {
            ramdisk_seen_at: self.latest_seen(node.id, row.get("seen_at")),
            node,
            bmc_password: Secret::new(row.get::<String, _>("bmc_password")),
            action,
            inbox,
            boot_progress: progress.unwrap_or_default(),
            boot_opened_at: row.get("window_opened_at"),
            due_at: row.get("due_at"),
        })
    }

    /// What was written down, or a later call that is remembered only.
    fn latest_seen(&self, node: NodeId, written: Option<i64>) -> Option<i64> {
        let remembered = self.memory().ramdisk_seen.get(&node).copied();
        written.map(|seen| remembered.map_or(seen, |r| r.max(seen)))
    }

    /// Writes a turn's decision down.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the node was changed since it was looked at: look again.
    pub async fn commit(&self, turn: TurnCommit<'_>, now: UnixMillis) -> Result<Node, StoreError> {
        let mut write = self.write().await?;
        let TurnCommit { node: before, next, taken, done, power, due_at, events } = turn;
        let mut node = next.map_or_else(|| before.clone(), |n| n.node.clone());
        node.version = before.version;
        if let Some(power) = power {
            node.power = power;
            node.power_seen_at = Some(now);
        }
        let id = node.id.to_string();
        if next.is_some() || power.is_some() {
            save(write.sql(), &mut node, now).await?;
        } else {
            confirm(write.sql(), &node).await?;
        }
        if let Some(taken) = taken {
            if next.is_some() {
                requests::begins(write.sql(), node.id, taken).await?;
            }
            sqlx::query("DELETE FROM inbox WHERE id = $1")
                .bind(taken)
                .execute(write.sql())
                .await
                .map_err(sql("take an event"))?;
        }
        if let Some(key) = done {
            sqlx::query("DELETE FROM actions WHERE node = $1 AND key = $2")
                .bind(&id)
                .bind(key)
                .execute(write.sql())
                .await
                .map_err(sql("finish an action"))?;
        }
        if let Some(next) = next {
            for effect in &next.effects {
                self.put_into_effect(write.sql(), node.id, *effect, now).await?;
            }
            plan(write.sql(), &node, &next.actions, now).await?;
        }
        for event in &events {
            append(write.sql(), Some(node.id), event, now).await?;
        }
        if !node.is_busy() {
            requests::is_over(write.sql(), node.id).await?;
        }
        due::after_turn(write.sql(), node.id, due_at, now).await?;
        write.commit("write down a turn").await?;
        if matches!(power, Some(Some(_))) {
            self.memory().power_seen.insert(node.id);
        }
        Ok(node)
    }

    /// The node's power was seen as it is written down: nothing is written, and who waits for the first
    /// look of this process is told.
    pub fn saw_power(&self, node: NodeId) {
        if self.memory().power_seen.insert(node) {
            self.tell_change();
        }
    }

    /// Whether this process saw the node's power: what is written down may be of before a power cut.
    pub fn has_seen_power(&self, node: NodeId) -> bool {
        self.memory().power_seen.contains(&node)
    }

    async fn put_into_effect(
        &self,
        tx: &mut SqliteConnection,
        node: NodeId,
        effect: Effect,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::OpenBootWindow { until } => {
                self.end_ramdisk(tx, node, now).await?;
                boots::open_window(tx, node, until, now).await
            }
            Effect::EndRamdisk => self.end_ramdisk(tx, node, now).await,
            Effect::RevokeMachineKey => {
                sqlx::query(
                    "UPDATE machine_keys SET revoked_at = $2
                     WHERE node = $1 AND revoked_at IS NULL",
                )
                .bind(node.to_string())
                .bind(now)
                .execute(tx)
                .await
                .map_err(sql("revoke a machine's key"))?;
                Ok(())
            }
            Effect::DisksAreEmpty => consent::are_empty(tx, node).await,
            Effect::EndApprovals => consent::end(tx, node).await,
        }
    }

    pub(crate) async fn end_ramdisk(
        &self,
        tx: &mut SqliteConnection,
        node: NodeId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.memory().ramdisk_seen.remove(&node);
        boots::close_windows(tx, node, now).await?;
        orders::withdraw_ramdisk(tx, node, now).await?;
        sqlx::query("DELETE FROM agent_sessions WHERE node = $1")
            .bind(node.to_string())
            .execute(tx)
            .await
            .map_err(sql("end a session"))?;
        Ok(())
    }

    /// The BMC's password beside the node it belongs to, for one action.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn bmc_login(&self, node: &Node) -> Result<(String, Secret), StoreError> {
        Ok((node.bmc.user.clone(), self.bmc_password(node.id).await?))
    }
}

/// Nobody wrote the node since it was looked at.
async fn confirm(tx: &mut SqliteConnection, node: &Node) -> Result<(), StoreError> {
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM nodes WHERE id = $1")
        .bind(node.id.to_string())
        .fetch_optional(tx)
        .await
        .map_err(sql("find a node"))?;
    if version == Some(node.version) { Ok(()) } else { Err(StoreError::Stale(node.name.clone())) }
}

/// Replaces what was pending.
async fn plan(
    tx: &mut SqliteConnection,
    node: &Node,
    actions: &[Action],
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM actions WHERE node = $1")
        .bind(node.id.to_string())
        .execute(&mut *tx)
        .await
        .map_err(sql("replace the actions"))?;
    for (position, action) in (0i64..).zip(actions) {
        sqlx::query(
            "INSERT INTO actions (node, position, key, action, at_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(node.id.to_string())
        .bind(position)
        .bind(format!("{}-{position}-{}", node.visit, action.name()))
        .bind(to_json("an action", action)?)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(sql("plan an action"))?;
    }
    Ok(())
}
