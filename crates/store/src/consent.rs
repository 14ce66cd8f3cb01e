//! Approvals: a person's word that disks of a node may be erased. No order that erases is put down
//! without ([`consent`] is called in that transaction), whatever way led there.
//!
//! The machines that this undercloud made itself are its own: nobody has to be asked.

use sqlx::{Row as _, SqliteConnection};
use undercloud_model::{
    Caller, Content, Digest, MacAddr, NodeId, UnixMillis,
    agent::DiskIdentity,
    consent::{Approval, NotApproved, erased, may_erase},
    inventory::Disk,
    node::{Node, Verb},
    timeline::Asked,
};

use crate::{
    Ident, Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
    nodes::find,
    settings,
    timeline::append,
};

/// The interfaces of the machines that were made here.
const OWN_MACHINES: &str = "machines-made-here";

/// What a person agreed to: that these disks of a node are erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Whose.
    pub node: NodeId,
    /// The disks, with what the person saw on them.
    pub disks: Vec<Disk>,
    /// Digest of what the person saw.
    pub plan: Digest,
    /// Who.
    pub by: Caller,
}

impl Store {
    /// The machines with these interfaces are our own, and no others.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_own_machines(&self, interfaces: &[MacAddr]) -> Result<(), StoreError> {
        let mut interfaces = interfaces.to_vec();
        interfaces.sort_unstable();
        if self.setting::<Vec<MacAddr>>(OWN_MACHINES).await?.unwrap_or_default() == interfaces {
            return Ok(());
        }
        self.set_setting(OWN_MACHINES, &interfaces).await
    }

    /// Whether we made this machine.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn is_own(&self, node: &Node) -> Result<bool, StoreError> {
        is_own(&mut *self.read().await?, node).await
    }

    /// What may be erased of a node that is not our own.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn approvals(&self, node: NodeId) -> Result<Vec<Approval>, StoreError> {
        Ok(rows(&mut *self.read().await?, node).await?.into_iter().map(|(_, a)| a).collect())
    }

    /// Writes down what a person agreed to, all or none of it. It takes the place of what was
    /// agreed to before, but for disks that hold what we put there.
    ///
    /// # Errors
    /// A disk is not, or not any more, as the person saw it; or its node is at work or installed.
    pub async fn approve(
        &self,
        agreements: &[Agreement],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        for agreement in agreements {
            agree(write.sql(), agreement, now).await?;
        }
        write.commit("write down an approval").await
    }

    /// Nobody agrees any more that disks of this node are erased.
    ///
    /// # Errors
    /// There is no such node, or the database cannot be written.
    pub async fn withdraw_approvals(
        &self,
        ident: impl Into<Ident>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let node = find(write.sql(), &ident.into()).await?;
        append(write.sql(), Some(node.id), &Asked::NotToErase.into(), now).await?;
        end(write.sql(), node.id).await?;
        write.commit("withdraw an approval").await
    }
}

async fn agree(
    tx: &mut SqliteConnection,
    agreement: &Agreement,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Agreement { node, disks, plan, by } = agreement;
    let node = find(tx, &Ident::from(*node)).await?;
    if !node.may_be_asked_to_erase() {
        return Err(StoreError::WrongState {
            operation: "approve that disks are erased of",
            node: node.name,
            state: node.state.to_string(),
            hint: "; nothing can be erased now",
        });
    }
    let inventory = node.inventory.as_ref();
    for disk in disks {
        let seen = inventory.is_some_and(|i| i.disks.contains(disk));
        if !seen || !disk.content.is_known() {
            let why = NotApproved::NotSeen { disk: disk.identity().to_string() };
            return Err(StoreError::NotApproved { node: node.name, why });
        }
    }
    for (id, earlier) in rows(tx, node.id).await? {
        let again = disks.iter().any(|disk| earlier.disk.is(&disk.identity()));
        if earlier.content.is_some() || again {
            delete(tx, id).await?;
        }
    }
    for disk in disks {
        insert(tx, node.id, disk, plan, by, now).await?;
        let (name, holds) = (disk.identity().to_string(), disk.content.to_string());
        let event = Asked::ToErase { by: by.to_string(), disk: name, holds };
        append(tx, Some(node.id), &event.into(), now).await?;
    }
    Ok(())
}

async fn insert(
    tx: &mut SqliteConnection,
    node: NodeId,
    disk: &Disk,
    plan: &Digest,
    by: &Caller,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO disk_approvals (node, disk, content, plan, by_whom, at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(node.to_string())
    .bind(to_json("a disk", &disk.identity())?)
    .bind(to_json("a disk's content", &disk.content)?)
    .bind(plan.to_string())
    .bind(by.name())
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("write down an approval"))?;
    Ok(())
}

async fn rows(db: &mut SqliteConnection, node: NodeId) -> Result<Vec<(i64, Approval)>, StoreError> {
    let rows = sqlx::query("SELECT * FROM disk_approvals WHERE node = $1 ORDER BY id")
        .bind(node.to_string())
        .fetch_all(db)
        .await
        .map_err(sql("read the approvals"))?;
    let approval = |row: &sqlx::sqlite::SqliteRow| {
        let content: Option<&str> = row.get("content");
        let approval = Approval {
            disk: from_json("disk", row.get("disk"))?,
            content: content.map(|c| from_json("disk's content", c)).transpose()?,
            plan: row.get::<&str, _>("plan").parse().map_err(corrupt("plan's digest"))?,
            by: row.get("by_whom"),
            at: row.get("at_ms"),
        };
        Ok((row.get("id"), approval))
    };
    rows.iter().map(approval).collect()
}

async fn delete(tx: &mut SqliteConnection, id: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM disk_approvals WHERE id = $1")
        .bind(id)
        .execute(tx)
        .await
        .map_err(sql("replace an approval"))?;
    Ok(())
}

async fn set_content(
    tx: &mut SqliteConnection,
    id: i64,
    content: Option<&Content>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE disk_approvals SET content = $2 WHERE id = $1")
        .bind(id)
        .bind(content.map(|c| to_json("a disk's content", c)).transpose()?)
        .execute(tx)
        .await
        .map_err(sql("use an approval"))?;
    Ok(())
}

async fn is_own(db: &mut SqliteConnection, node: &Node) -> Result<bool, StoreError> {
    let own: Vec<MacAddr> = settings::read(db, OWN_MACHINES).await?.unwrap_or_default();
    Ok(node.boot_port().is_some_and(|port| own.contains(&port.mac)))
}

/// Refuses an order that erases a disk which nobody agreed to, as the last look saw it. What is on
/// the disks is ours from then on.
pub(crate) async fn consent(
    tx: &mut SqliteConnection,
    node: NodeId,
    disks: &[DiskIdentity],
) -> Result<(), StoreError> {
    if disks.is_empty() {
        return Ok(());
    }
    let node = find(tx, &Ident::from(node)).await?;
    if is_own(tx, &node).await? {
        return Ok(());
    }
    let rows = rows(tx, node.id).await?;
    let approvals: Vec<Approval> = rows.iter().map(|(_, approval)| approval.clone()).collect();
    for disk in disks {
        let seen = node.inventory.iter().flat_map(|i| &i.disks).find(|d| d.identity().is(disk));
        let judged = match seen {
            None => Err(NotApproved::NotSeen { disk: disk.to_string() }),
            Some(seen) => may_erase(&approvals, seen),
        };
        judged.map_err(|why| StoreError::NotApproved { node: node.name.clone(), why })?;
    }
    for (id, approval) in rows {
        if disks.iter().any(|disk| approval.disk.is(disk)) {
            set_content(tx, id, None).await?;
        }
    }
    Ok(())
}

/// Refuses a request that would end in a refusal, as far as the last inspection tells.
pub(crate) async fn check_request(
    tx: &mut SqliteConnection,
    node: &Node,
    verb: &Verb,
) -> Result<(), StoreError> {
    let Some(scope) = verb.erases(node) else { return Ok(()) };
    if is_own(tx, node).await? {
        return Ok(());
    }
    let name = || node.name.clone();
    let inventory = node.inventory.as_ref().ok_or_else(|| StoreError::NotInspected(name()))?;
    let disks = erased(&inventory.disks, &node.root_device, &scope)
        .map_err(|source| StoreError::NoRootDevice { node: name(), source })?;
    let approvals: Vec<Approval> = rows(tx, node.id).await?.into_iter().map(|(_, a)| a).collect();
    disks.iter().try_for_each(|disk| {
        may_erase(&approvals, disk).map_err(|why| StoreError::NotApproved { node: name(), why })
    })
}

/// The disks of a node that are ours were wiped.
pub(crate) async fn are_empty(tx: &mut SqliteConnection, node: NodeId) -> Result<(), StoreError> {
    for (id, _) in rows(tx, node).await?.iter().filter(|(_, a)| a.content.is_none()) {
        set_content(tx, *id, Some(&Content::EMPTY)).await?;
    }
    Ok(())
}

/// The node's approvals are over.
pub(crate) async fn end(tx: &mut SqliteConnection, node: NodeId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM disk_approvals WHERE node = $1")
        .bind(node.to_string())
        .execute(tx)
        .await
        .map_err(sql("end approvals"))?;
    Ok(())
}
