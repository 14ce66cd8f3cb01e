//! Network boots: addresses for enrolled machines, and windows in which they may boot.

use ipnet::Ipv4Net;
use sqlx::{Row as _, SqliteConnection};
use undercloud_model::{
    BootMode, MacAddr, NodeId, NodeName, Secret, UnixMillis,
    agent::{BootIdentity, BootNetwork, PROTOCOL_VERSION},
    node::{BootInterface, BootProgress, Event},
    timeline::{Attempt, Netboot},
};

use crate::{
    Store,
    agents::{hash, random_hex},
    error::{StoreError, corrupt, sql},
    nodes,
    requests::deliver,
    timeline::{append, unword, word},
};

/// An enrolled interface's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub node: NodeId,
    /// The node's name.
    pub name: NodeName,
    /// The address.
    pub address: Ipv4Net,
    /// How its ramdisk gets to it.
    pub boot_interface: BootInterface,
}

/// What the boot servers saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// In their words.
    pub said: &'a str,
    /// Whether somebody should look.
    pub is_warning: bool,
}

/// What a machine needs to boot its ramdisk. The same until the window closes.
#[derive(Debug, Clone)]
pub struct BootPlan {
    /// Which node boots.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Which firmware it has.
    pub boot_mode: BootMode,
    /// The address of the interface that it boots from.
    pub network: BootNetwork,
    /// Its agent's secret.
    pub secret: Secret,
    /// Part of this boot's URLs, 32 hex digits. Not secret.
    pub token: String,
    /// When the window was opened.
    pub opened_at: UnixMillis,
    /// How the ramdisk gets to it.
    pub boot_interface: BootInterface,
}

impl BootPlan {
    /// Where its BMC fetches the deploy CD of this boot, below `base`.
    pub fn media_url(&self, base: &str) -> String {
        format!("{base}/{}/{}/bm-deploy.iso", self.network.mac.hyphenated(), self.token)
    }

    /// The file for the ramdisk's first segment.
    pub fn identity(&self, api: &str, ca_pem: &str, now: UnixMillis) -> BootIdentity {
        BootIdentity {
            protocol: PROTOCOL_VERSION,
            api: api.to_owned(),
            node: self.node,
            secret: self.secret.clone(),
            ca_pem: ca_pem.to_owned(),
            network: self.network.clone(),
            now_ms: now,
        }
    }
}

impl Store {
    /// The address of an interface; nothing if nobody enrolled it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn lease_for(&self, mac: MacAddr) -> Result<Option<Lease>, StoreError> {
        let row = sqlx::query(
            "SELECT nodes.id, nodes.name, nodes.record, address FROM ports JOIN nodes ON node = nodes.id
             WHERE mac = $1",
        )
        .bind(mac.to_string())
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("find a port"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Lease {
            node: row.get::<&str, _>("id").parse().map_err(corrupt("node id"))?,
            name: row.get::<&str, _>("name").parse().map_err(corrupt("node name"))?,
            address: row.get::<&str, _>("address").parse().map_err(corrupt("port's address"))?,
            boot_interface: nodes::boot_interface(row.get("record"))?,
        }))
    }

    /// What the machine with this interface may boot now; nothing outside the window that a
    /// power-on of ours opened, and nothing once its agent has said hello.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn boot_target(
        &self,
        mac: MacAddr,
        now: UnixMillis,
    ) -> Result<Option<BootPlan>, StoreError> {
        let Some(lease) = self.lease_for(mac).await? else { return Ok(None) };
        let row = sqlx::query(
            "SELECT secret, token, until, opened_at FROM boot_windows
             WHERE node = $1 AND closed_at IS NULL AND used_at IS NULL AND secret IS NOT NULL
             ORDER BY id DESC LIMIT 1",
        )
        .bind(lease.node.to_string())
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("find a boot window"))?;
        let Some(row) = row.filter(|row| now <= self.window_end(row.get("until"))) else {
            return Ok(None);
        };
        let node = self.node(lease.node).await?;
        Ok(Some(BootPlan {
            node: node.id,
            name: node.name,
            boot_mode: node.boot_mode,
            network: BootNetwork { mac, address: lease.address, gateway: None },
            secret: Secret::new(row.get::<String, _>("secret")),
            token: row.get("token"),
            opened_at: row.get("opened_at"),
            boot_interface: node.boot_interface,
        }))
    }

    /// While this daemon was away, nobody could call.
    pub(crate) fn window_end(&self, until: UnixMillis) -> UnixMillis {
        if until >= self.opened_at() - WINDOW_KEPT_MS {
            until.max(self.grace_until())
        } else {
            until
        }
    }

    /// Something that the boot servers saw, for the timeline of the machine, and how far its boot
    /// has come by that.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn netboot_event(
        &self,
        mac: Option<MacAddr>,
        progress: Option<BootProgress>,
        seen: Seen<'_>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.saw(mac, progress, false, seen, now).await
    }

    /// A machine asked for its boot, and there is none for it. Where its boot secret was used
    /// already, by an agent that runs, this is the second use: whoever came first was not the
    /// machine, or it restarted by itself.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn boot_refused(
        &self,
        mac: MacAddr,
        seen: Seen<'_>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.saw(Some(mac), None, true, seen, now).await
    }

    async fn saw(
        &self,
        mac: Option<MacAddr>,
        progress: Option<BootProgress>,
        is_refusal: bool,
        seen: Seen<'_>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let lease = match mac {
            Some(mac) => self.lease_for(mac).await?,
            None => None,
        };
        let mut write = self.write().await?;
        let node = lease.map(|l| l.node);
        let Seen { said, is_warning } = seen;
        let mac = mac.filter(|_| node.is_none());
        let event = Netboot::Seen { mac, said: said.to_owned(), is_warning };
        append(write.sql(), node, &event.into(), now).await?;
        if let (Some(node), Some(progress)) = (node, progress) {
            advance(write.sql(), node, progress, now).await?;
        }
        if let Some(node) = node.filter(|_| is_refusal)
            && secret_is_used(write.sql(), node).await?
        {
            append(write.sql(), Some(node), &Attempt::BootAfterSecret.into(), now).await?;
            self.used_twice(write.sql(), node, now).await?;
        }
        write.commit("record a network boot").await
    }
}

/// A window that ended this long before the daemon started is not opened again by the grace.
const WINDOW_KEPT_MS: i64 = 3_600_000;

/// Whether the node's window is open, and the secret in it used.
async fn secret_is_used(tx: &mut SqliteConnection, node: NodeId) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM boot_windows
             WHERE node = $1 AND closed_at IS NULL AND used_at IS NOT NULL)",
    )
    .bind(node.to_string())
    .fetch_one(tx)
    .await
    .map_err(sql("find a boot window"))
}

async fn advance(
    tx: &mut SqliteConnection,
    node: NodeId,
    progress: BootProgress,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let open = sqlx::query(
        "SELECT id, progress FROM boot_windows WHERE node = $1 AND closed_at IS NULL
         ORDER BY id DESC LIMIT 1",
    )
    .bind(node.to_string())
    .fetch_optional(&mut *tx)
    .await
    .map_err(sql("find a boot window"))?;
    let Some(row) = open else { return Ok(()) };
    let before: BootProgress = unword("boot progress", row.get("progress"))?;
    if progress <= before {
        return Ok(());
    }
    sqlx::query("UPDATE boot_windows SET progress = $2 WHERE id = $1")
        .bind(row.get::<i64, _>("id"))
        .bind(word("a boot's progress", &progress)?)
        .execute(&mut *tx)
        .await
        .map_err(sql("record a network boot"))?;
    if progress == BootProgress::Ramdisk {
        deliver(tx, node, &Event::RamdiskFetched, now).await?;
    }
    Ok(())
}

/// Opens a window; the node's others are closed already.
pub(crate) async fn open_window(
    tx: &mut SqliteConnection,
    node: NodeId,
    until: UnixMillis,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let secret = random_hex::<32>()?;
    sqlx::query(
        "INSERT INTO boot_windows (node, opened_at, until, token, secret, secret_hash, progress)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(node.to_string())
    .bind(now)
    .bind(until)
    .bind(random_hex::<16>()?.expose())
    .bind(secret.expose())
    .bind(hash(secret.expose()))
    .bind(word("a boot's progress", &BootProgress::default())?)
    .execute(&mut *tx)
    .await
    .map_err(sql("open a boot window"))?;
    append(tx, Some(node), &Netboot::BootWindow.into(), now).await
}

/// Closes the node's windows and forgets their secrets.
pub(crate) async fn close_windows(
    tx: &mut SqliteConnection,
    node: NodeId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE boot_windows SET closed_at = $2, secret = NULL
         WHERE node = $1 AND closed_at IS NULL",
    )
    .bind(node.to_string())
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("close a boot window"))?;
    Ok(())
}
