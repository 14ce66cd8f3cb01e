//! Agents: who they are, that they live, and what they fetch.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    NodeId, Secret, SshHostKey, UnixMillis,
    agent::{Hello, Poll, PollReply, Welcome},
    node::{Event, Phase},
    timeline::{AgentCall, Attempt},
};

use crate::{
    Ident, Store,
    error::{StoreError, corrupt, sql},
    nodes::find_opt,
    requests::deliver,
    timeline::append,
};

/// A heartbeat is written down at most this often; between, it is remembered.
const SEEN_EVERY_MS: i64 = 10_000;

/// An agent that has proven who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Which node it is on.
    pub node: NodeId,
    /// Which of the node's agents it is.
    pub kind: AgentKind,
}

/// Which of a node's agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// The ramdisk's.
    Ramdisk,
    /// The installed system's.
    Installed,
}

impl AgentKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ramdisk => "ramdisk",
            Self::Installed => "installed",
        }
    }
}

/// Why an agent is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has this secret.
    #[error("the boot secret is not known")]
    UnknownSecret,
    /// It is another node's.
    #[error("the boot secret is another node's")]
    OtherNode,
    /// Its window is over.
    #[error("the boot secret's window is over")]
    WindowOver,
    /// It was used, by another boot.
    #[error("the boot secret was used already")]
    UsedTwice,
}

/// Why a hello was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is not let in.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It may be, but the store cannot tell now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// SHA-256 of a secret of full entropy, as it is kept.
pub(crate) fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// `N` random bytes in hex.
pub(crate) fn random_hex<const N: usize>() -> Result<Secret, StoreError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(StoreError::Random)?;
    Ok(Secret::new(hex::encode(bytes)))
}

struct Window {
    id: i64,
    node: NodeId,
    until: UnixMillis,
    is_closed: bool,
    is_used: bool,
    boot_hash: Option<String>,
}

impl Window {
    fn of(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id"),
            node: row.get::<&str, _>("node").parse().map_err(corrupt("node id"))?,
            until: row.get("until"),
            is_closed: row.get::<Option<i64>, _>("closed_at").is_some(),
            is_used: row.get::<Option<i64>, _>("used_at").is_some(),
            boot_hash: row.get("boot_hash"),
        })
    }
}

impl Store {
    /// Exchanges a boot secret for a session key.
    ///
    /// A hello that the same boot repeats, because its answer was lost, gets a new key in place of
    /// the old one. A second use by another boot ends the session, and fails the node.
    ///
    /// # Errors
    /// It is denied, or the database cannot be written.
    pub async fn agent_hello(&self, hello: &Hello, now: UnixMillis) -> Result<Welcome, AgentError> {
        let mut write = self.write().await?;
        let row = sqlx::query("SELECT * FROM boot_windows WHERE secret_hash = $1")
            .bind(hash(hello.secret.expose()))
            .fetch_optional(write.sql())
            .await
            .map_err(sql("find a boot secret"))?;
        let boot_hash = hash(&hello.boot_id);
        let judged = match row.as_ref().map(Window::of).transpose()? {
            None => Err((Denied::UnknownSecret, None)),
            Some(window) => self
                .judge(&window, hello, &boot_hash, now)
                .map(|()| window.id)
                .map_err(|denied| (denied, Some(window.node))),
        };
        match judged {
            Ok(window) => {
                let key = open_session(write.sql(), window, hello.node, &boot_hash, now).await?;
                self.memory().ramdisk_seen.insert(hello.node, now);
                write.commit("welcome an agent").await?;
                Ok(Welcome { session_key: key })
            }
            Err((denied, owner)) => {
                self.deny(write.sql(), hello, denied, owner, now).await?;
                write.commit("deny an agent").await?;
                Err(denied.into())
            }
        }
    }

    fn judge(
        &self,
        window: &Window,
        hello: &Hello,
        boot_hash: &str,
        now: UnixMillis,
    ) -> Result<(), Denied> {
        if window.node != hello.node {
            return Err(Denied::OtherNode);
        }
        // Before anything else: what was read once is no switch to fail later boots with.
        if window.is_closed {
            return Err(Denied::WindowOver);
        }
        if window.is_used && window.boot_hash.as_deref() != Some(boot_hash) {
            return Err(Denied::UsedTwice);
        }
        let over = !window.is_used && now > self.window_end(window.until);
        if over { Err(Denied::WindowOver) } else { Ok(()) }
    }

    /// Every denied hello is a security event of the node whose secret it is, or, where nobody
    /// has the secret, of the node that it named. Only a second use in an open window fails a node:
    /// everything else could be sent by anybody, at any time.
    async fn deny(
        &self,
        tx: &mut SqliteConnection,
        hello: &Hello,
        denied: Denied,
        owner: Option<NodeId>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let claimed = find_opt(tx, &Ident::from(hello.node)).await?.map(|n| n.id);
        let event = Attempt::HelloDenied { why: denied.to_string() };
        append(tx, owner.or(claimed), &event.into(), now).await?;
        if let (Denied::UsedTwice, Some(node)) = (denied, owner) {
            self.used_twice(tx, node, now).await?;
        }
        Ok(())
    }

    /// The boot secret of the node's open window was used twice: nobody knows by whom the first time.
    pub(crate) async fn used_twice(
        &self,
        tx: &mut SqliteConnection,
        node: NodeId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.end_ramdisk(tx, node, now).await?;
        deliver(tx, node, &Event::SecretReused, now).await?;
        Ok(())
    }

    /// Whose key this is, if it is anybody's now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn authenticate(&self, key: &Secret) -> Result<Option<Principal>, StoreError> {
        let row = sqlx::query(
            "SELECT node, 1 AS ramdisk FROM agent_sessions WHERE key_hash = $1
             UNION ALL
             SELECT node, 0 FROM machine_keys WHERE key_hash = $1 AND revoked_at IS NULL",
        )
        .bind(hash(key.expose()))
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("find an agent's key"))?;
        let Some(row) = row else { return Ok(None) };
        let node = row.get::<&str, _>("node").parse().map_err(corrupt("node id"))?;
        let is_ramdisk = row.get::<i64, _>("ramdisk") == 1;
        let kind = if is_ramdisk { AgentKind::Ramdisk } else { AgentKind::Installed };
        Ok(Some(Principal { node, kind }))
    }

    /// A heartbeat, answered with the agent's order as soon as there is one, at latest after
    /// `hold` with nothing. With nothing, too, where meanwhile another agent took this one's place: the
    /// order is the other's, and the next call is refused.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn agent_poll(
        &self,
        principal: &Principal,
        poll: &Poll,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<PollReply, StoreError> {
        self.touch(principal, now).await?;
        if principal.kind == AgentKind::Installed {
            self.installed_called(principal.node, &poll.boot_id, now).await?;
            if let Some(key) = &poll.ssh_host_key {
                self.pin_ssh_host_key(principal.node, key, now).await?;
            }
        }
        let mut wait = self.waiting().begin(principal.node);
        let deadline = tokio::time::Instant::now() + hold;
        let key = self.key_hash(principal).await?;
        loop {
            let order = self.current_order(principal, &poll.busy).await?;
            if order.is_some() {
                let is_its_own = self.key_hash(principal).await? == key;
                return Ok(PollReply { order: order.filter(|_| is_its_own) });
            }
            if tokio::time::timeout_at(deadline, wait.order()).await.is_err() {
                return Ok(PollReply { order: None });
            }
        }
    }

    /// By what the node's agent is known now.
    async fn key_hash(&self, principal: &Principal) -> Result<Option<String>, StoreError> {
        let key = match principal.kind {
            AgentKind::Ramdisk => "SELECT key_hash FROM agent_sessions WHERE node = $1",
            AgentKind::Installed => {
                "SELECT key_hash FROM machine_keys WHERE node = $1 AND revoked_at IS NULL"
            }
        };
        sqlx::query_scalar(key)
            .bind(principal.node.to_string())
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("find an agent's key"))
    }

    /// The agent lives.
    pub(crate) async fn touch(
        &self,
        principal: &Principal,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        {
            let mut memory = self.memory();
            if principal.kind == AgentKind::Ramdisk {
                memory.ramdisk_seen.insert(principal.node, now);
            }
            let last = memory.seen_written.get(principal).copied();
            if last.is_some_and(|at| now.saturating_sub(at) < SEEN_EVERY_MS) {
                return Ok(());
            }
            memory.seen_written.insert(*principal, now);
        }
        let mut write = self.write().await?;
        let seen = match principal.kind {
            AgentKind::Ramdisk => "UPDATE agent_sessions SET seen_at = $2 WHERE node = $1",
            AgentKind::Installed => {
                "UPDATE machine_keys SET seen_at = $2 WHERE node = $1 AND revoked_at IS NULL"
            }
        };
        sqlx::query(seen)
            .bind(principal.node.to_string())
            .bind(now)
            .execute(write.sql())
            .await
            .map_err(sql("record a heartbeat"))?;
        write.commit("record a heartbeat").await
    }

    /// When the installed system's agent called last, as far as it was written down.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn installed_seen_at(&self, node: NodeId) -> Result<Option<UnixMillis>, StoreError> {
        sqlx::query_scalar(
            "SELECT max(seen_at) FROM machine_keys WHERE node = $1 AND revoked_at IS NULL",
        )
        .bind(node.to_string())
        .fetch_one(&mut *self.read().await?)
        .await
        .map_err(sql("read a heartbeat"))
    }

    /// By which key the installed system's ssh server is known, as it said itself.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that is no key.
    pub async fn ssh_host_key(&self, node: NodeId) -> Result<Option<SshHostKey>, StoreError> {
        let mut db = self.read().await?;
        let key: Option<Option<String>> = sqlx::query_scalar(
            "SELECT ssh_host_key FROM machine_keys WHERE node = $1 AND revoked_at IS NULL",
        )
        .bind(node.to_string())
        .fetch_optional(&mut *db)
        .await
        .map_err(sql("read an ssh host key"))?;
        Ok(key.flatten().and_then(|text| text.parse().ok()))
    }

    /// The same of all nodes that have one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ssh_host_keys(&self) -> Result<HashMap<NodeId, SshHostKey>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT node, ssh_host_key FROM machine_keys
             WHERE revoked_at IS NULL AND ssh_host_key IS NOT NULL",
        )
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("read the ssh host keys"))?;
        let row = |(node, key): (String, String)| Some((node.parse().ok()?, key.parse().ok()?));
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Remembers the key; another one than before goes on the timeline, for only somebody who is
    /// root on the machine can have made it.
    async fn pin_ssh_host_key(
        &self,
        node: NodeId,
        key: &SshHostKey,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let known = self.ssh_host_key(node).await?;
        if known.as_ref() == Some(key) {
            return Ok(());
        }
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE machine_keys SET ssh_host_key = $2 WHERE node = $1 AND revoked_at IS NULL",
        )
        .bind(node.to_string())
        .bind(key.to_string())
        .execute(write.sql())
        .await
        .map_err(sql("record an ssh host key"))?;
        if known.is_some() {
            append(write.sql(), Some(node), &AgentCall::OtherSshHostKey.into(), now).await?;
        }
        write.commit("record an ssh host key").await
    }

    /// A new boot of the installed system goes on the timeline; the first call of a deployment
    /// wakes the engine.
    async fn installed_called(
        &self,
        node: NodeId,
        boot_id: &str,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let (known, waits) = {
            let mut db = self.read().await?;
            let known: Option<Option<String>> = sqlx::query_scalar(
                "SELECT boot_id FROM machine_keys WHERE node = $1 AND revoked_at IS NULL",
            )
            .bind(node.to_string())
            .fetch_optional(&mut *db)
            .await
            .map_err(sql("read a machine's key"))?;
            let record = find_opt(&mut db, &Ident::from(node)).await?;
            let waits =
                record.is_some_and(|n| matches!(n.phase, Phase::RestartOn | Phase::InstalledBoots));
            (known.flatten(), waits)
        };
        let boot_id: String = boot_id.chars().filter(char::is_ascii_graphic).take(64).collect();
        let is_new_boot = known.as_deref() != Some(boot_id.as_str());
        if !is_new_boot && !waits {
            return Ok(());
        }
        let mut write = self.write().await?;
        let is_told: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM inbox WHERE node = $1
                 AND json_extract(event, '$.event') = 'installed_called')",
        )
        .bind(node.to_string())
        .fetch_one(write.sql())
        .await
        .map_err(sql("look for a call"))?;
        if !is_new_boot && is_told {
            return Ok(());
        }
        sqlx::query(
            "UPDATE machine_keys SET boot_id = $2, seen_at = $3
             WHERE node = $1 AND revoked_at IS NULL",
        )
        .bind(node.to_string())
        .bind(&boot_id)
        .bind(now)
        .execute(write.sql())
        .await
        .map_err(sql("record a boot"))?;
        if is_new_boot {
            append(write.sql(), Some(node), &AgentCall::InstalledBooted.into(), now).await?;
        }
        if waits && !is_told {
            deliver(write.sql(), node, &Event::InstalledCalled, now).await?;
        }
        write.commit("record a boot").await
    }
}

/// Marks the window used, makes a session key, and tells the engine the first time.
async fn open_session(
    tx: &mut SqliteConnection,
    window: i64,
    node: NodeId,
    boot_hash: &str,
    now: UnixMillis,
) -> Result<Secret, StoreError> {
    let used = sqlx::query(
        "UPDATE boot_windows SET used_at = $2, boot_hash = $3, secret = NULL
         WHERE id = $1 AND used_at IS NULL",
    )
    .bind(window)
    .bind(now)
    .bind(boot_hash)
    .execute(&mut *tx)
    .await
    .map_err(sql("use a boot secret"))?;
    let key = random_hex::<32>()?;
    sqlx::query(
        "INSERT INTO agent_sessions (node, key_hash, opened_at, seen_at) VALUES ($1, $2, $3, $3)
         ON CONFLICT (node) DO UPDATE SET key_hash = excluded.key_hash,
             opened_at = excluded.opened_at, seen_at = excluded.seen_at",
    )
    .bind(node.to_string())
    .bind(hash(key.expose()))
    .bind(now)
    .execute(&mut *tx)
    .await
    .map_err(sql("open a session"))?;
    if used.rows_affected() == 1 {
        append(tx, Some(node), &AgentCall::Hello.into(), now).await?;
        deliver(tx, node, &Event::AgentHello, now).await?;
    }
    Ok(key)
}

/// A new secret of 256 random bits, in hex.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn fresh_secret() -> Result<Secret, StoreError> {
    random_hex::<32>()
}
