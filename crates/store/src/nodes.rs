//! Nodes: reading, writing, removing.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    BootMode, NodeId, NodeName, RootDeviceHints, Secret, UnixMillis,
    consent::WipeScope,
    inventory::Inventory,
    node::{
        BmcAddress, BootInterface, Driver, Instance, LastError, Maintenance, Node, Port,
        Properties, ProvisionState,
    },
    timeline::RecordNews,
};

use crate::{
    Store, due,
    error::{StoreError, corrupt, from_json, sql, to_json},
    timeline::{append, unword, word},
};

/// A node as somebody names it: by name or by UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident(String);

impl<T: fmt::Display> From<T> for Ident {
    fn from(text: T) -> Self {
        Self(text.to_string())
    }
}

/// Everything of a node that no query looks into.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    driver: Driver,
    bmc: BmcAddress,
    boot_mode: BootMode,
    #[serde(default)]
    boot_interface: BootInterface,
    properties: Properties,
    root_device: RootDeviceHints,
    #[serde(default)]
    wipe: WipeScope,
    #[serde(default)]
    booted_again: bool,
    resource_class: String,
    inventory: Option<Inventory>,
    last_error: Option<LastError>,
    instance: Option<Instance>,
}

impl Record {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            driver: node.driver,
            bmc: node.bmc.clone(),
            boot_mode: node.boot_mode,
            boot_interface: node.boot_interface,
            properties: node.properties.clone(),
            root_device: node.root_device.clone(),
            wipe: node.wipe.clone(),
            booted_again: node.booted_again,
            resource_class: node.resource_class.clone(),
            inventory: node.inventory.clone(),
            last_error: node.last_error.clone(),
            instance: node.instance.clone(),
        }
    }
}

/// A node's row with its ports, so that one query reads one node or all. What follows is its
/// condition.
macro_rules! select_node {
    ($and_from:literal) => {
        concat!(
            "SELECT nodes.*, (SELECT json_group_array(json_array(position, mac, address)) FROM ports ",
            "WHERE ports.node = nodes.id) AS ports",
            $and_from
        )
    };
}
pub(crate) use select_node;

/// All nodes, by name.
pub(crate) async fn all(db: &mut SqliteConnection) -> Result<Vec<Node>, StoreError> {
    let rows = sqlx::query(select_node!(" FROM nodes ORDER BY name")).fetch_all(&mut *db).await;
    rows.map_err(sql("list the nodes"))?.iter().map(node).collect()
}

/// Where the BMCs of all nodes are, by what is the same of two that may be one machine's.
pub(crate) async fn bmcs(
    db: &mut SqliteConnection,
) -> Result<HashMap<IpAddr, Vec<NodeBmc>>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, json_extract(record, '$.driver') AS driver,
             json_extract(record, '$.bmc') AS bmc FROM nodes",
    )
    .fetch_all(&mut *db)
    .await
    .map_err(sql("list the BMCs"))?;
    let mut found: HashMap<IpAddr, Vec<NodeBmc>> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let one = NodeBmc {
            id: row.get::<&str, _>("id").parse().map_err(corrupt("node id"))?,
            name: row.get::<&str, _>("name").parse::<NodeName>().map_err(corrupt("node name"))?,
            driver: unword("driver", row.get("driver"))?,
            bmc: from_json("BMC", row.get("bmc"))?,
        };
        found.entry(one.bmc.address.to_canonical()).or_default().push(one);
    }
    Ok(found)
}

/// A node as far as it decides whose machine its BMC is.
pub(crate) struct NodeBmc {
    pub(crate) id: NodeId,
    pub(crate) name: NodeName,
    pub(crate) driver: Driver,
    pub(crate) bmc: BmcAddress,
}

/// How the ramdisk gets to the node of this record.
pub(crate) fn boot_interface(record: &str) -> Result<BootInterface, StoreError> {
    let record: Record = from_json("node's record", record)?;
    Ok(record.boot_interface)
}

impl Store {
    /// One node, by name or UUID.
    ///
    /// # Errors
    /// There is none.
    pub async fn node(&self, ident: impl Into<Ident>) -> Result<Node, StoreError> {
        find(&mut *self.read().await?, &ident.into()).await
    }

    /// All nodes, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        all(&mut *self.read().await?).await
    }

    /// The nodes in a state, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn nodes_in(&self, state: ProvisionState) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(select_node!(" FROM nodes WHERE state = $1 ORDER BY name"))
            .bind(state.as_str())
            .fetch_all(&mut *self.read().await?)
            .await;
        rows.map_err(sql("list the nodes"))?.iter().map(node).collect()
    }

    /// Those of these nodes that there are, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn nodes_of(&self, ids: &BTreeSet<NodeId>) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(select_node!(
            " FROM nodes WHERE id IN (SELECT value FROM json_each($1)) ORDER BY name"
        ))
        .bind(to_json("nodes", ids)?)
        .fetch_all(&mut *self.read().await?)
        .await;
        rows.map_err(sql("list the nodes"))?.iter().map(node).collect()
    }

    /// How many nodes are in each state that there is one in.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn states(&self) -> Result<Vec<(ProvisionState, u32)>, StoreError> {
        let rows: Vec<(String, u32)> =
            sqlx::query_as("SELECT state, count(*) FROM nodes GROUP BY state")
                .fetch_all(&mut *self.read().await?)
                .await
                .map_err(sql("count the nodes"))?;
        let state = |(text, count): (String, u32)| {
            Ok((text.parse().map_err(corrupt("provision state"))?, count))
        };
        rows.into_iter().map(state).collect()
    }

    /// The newest failure of all nodes, and whose it is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn newest_failure(&self) -> Result<Option<(NodeName, LastError)>, StoreError> {
        let row = sqlx::query(
            "SELECT name, json_extract(record, '$.last_error') AS error FROM nodes
             WHERE error IS NOT NULL ORDER BY json_extract(error, '$.at') DESC, name DESC LIMIT 1",
        )
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(sql("look for the newest failure"))?;
        let Some(row) = row else { return Ok(None) };
        let name = row.get::<&str, _>("name").parse().map_err(corrupt("node name"))?;
        Ok(Some((name, from_json("last error", row.get("error"))?)))
    }

    /// The names of those of these nodes that there are.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn names_of(
        &self,
        nodes: &BTreeSet<NodeId>,
    ) -> Result<HashMap<NodeId, NodeName>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, name FROM nodes WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json("nodes", nodes)?)
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("read nodes' names"))?;
        let row = |(id, name): (String, String)| {
            let id = id.parse().map_err(corrupt("node id"))?;
            Ok((id, name.parse().map_err(corrupt("node name"))?))
        };
        rows.into_iter().map(row).collect()
    }

    /// The password of a node's BMC.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn bmc_password(&self, node: NodeId) -> Result<Secret, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT bmc_password FROM nodes WHERE id = $1")
                .bind(node.to_string())
                .fetch_optional(&mut *self.read().await?)
                .await
                .map_err(sql("read a BMC's password"))?;
        found.map(Secret::new).ok_or_else(|| StoreError::NoNode(node.to_string()))
    }

    /// Puts a node into maintenance, or ends it.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn set_maintenance(
        &self,
        ident: impl Into<Ident>,
        maintenance: Option<Maintenance>,
        now: UnixMillis,
    ) -> Result<Node, StoreError> {
        let mut write = self.write().await?;
        let mut node = find(write.sql(), &ident.into()).await?;
        if node.maintenance == maintenance {
            return Ok(node);
        }
        let event = match &maintenance {
            None => RecordNews::MaintenanceEnded,
            Some(Maintenance { reason }) => RecordNews::MaintenanceBegan { reason: reason.clone() },
        };
        node.maintenance = maintenance;
        save(write.sql(), &mut node, now).await?;
        // Whether its power is looked at follows from it.
        due::is_due(write.sql(), node.id, now).await?;
        append(write.sql(), Some(node.id), &event.into(), now).await?;
        write.commit("set maintenance").await?;
        Ok(node)
    }

    /// Removes a node. What its disks and its power are like stays as it is.
    ///
    /// # Errors
    /// There is no such node, or it is in a state that Ironic would not remove it in.
    pub async fn delete_node(
        &self,
        ident: impl Into<Ident>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        use ProvisionState as S;
        let mut write = self.write().await?;
        let node = find(write.sql(), &ident.into()).await?;
        let free =
            matches!(node.state, S::Enroll | S::Manageable | S::Available) && !node.is_busy();
        if !free && node.maintenance.is_none() {
            return Err(StoreError::WrongState {
                operation: "delete",
                node: node.name,
                state: node.state.to_string(),
                hint: "; undeploy it first, or put it into maintenance to delete it anyway",
            });
        }
        sqlx::query("DELETE FROM nodes WHERE id = $1")
            .bind(node.id.to_string())
            .execute(write.sql())
            .await
            .map_err(sql("delete a node"))?;
        let event = RecordNews::Removed { name: node.name };
        append(write.sql(), Some(node.id), &event.into(), now).await?;
        write.commit("delete a node").await
    }

    /// Waits until `done` says something about the node, at most for `timeout`; then nothing.
    ///
    /// # Errors
    /// There is no such node (any more).
    pub async fn wait_for<T>(
        &self,
        ident: impl Into<Ident>,
        timeout: Duration,
        mut done: impl FnMut(&Node) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let ident = ident.into();
        let mut changes = self.changes();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            changes.mark_unchanged();
            if let Some(answer) = done(&self.node(&ident.0).await?) {
                return Ok(Some(answer));
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                // The sender lives in `self`.
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        }
    }
}

pub(crate) async fn find(db: &mut SqliteConnection, ident: &Ident) -> Result<Node, StoreError> {
    find_opt(db, ident).await?.ok_or_else(|| StoreError::NoNode(ident.0.chars().take(80).collect()))
}

pub(crate) async fn find_opt(
    db: &mut SqliteConnection,
    ident: &Ident,
) -> Result<Option<Node>, StoreError> {
    // A UUID in another spelling is the same node; a name has one spelling.
    let id = NodeId::from_str(&ident.0).map_or_else(|_| ident.0.clone(), |id| id.to_string());
    let row = sqlx::query(select_node!(" FROM nodes WHERE id = $1 OR name = $2"))
        .bind(id)
        .bind(&ident.0)
        .fetch_optional(&mut *db)
        .await
        .map_err(sql("find a node"))?;
    row.as_ref().map(node).transpose()
}

/// A node's ports in their order.
fn ports(text: &str) -> Result<Vec<Port>, StoreError> {
    let mut rows: Vec<(i64, String, String)> = from_json("node's ports", text)?;
    rows.sort_by_key(|(position, ..)| *position);
    let port = |(_, mac, address): (i64, String, String)| {
        Ok(Port {
            mac: mac.parse().map_err(corrupt("MAC address"))?,
            address: address.parse().map_err(corrupt("port's address"))?,
        })
    };
    rows.into_iter().map(port).collect()
}

/// What [`select_node`] read.
pub(crate) fn node(row: &SqliteRow) -> Result<Node, StoreError> {
    let record: Record = from_json("node's record", row.get("record"))?;
    let state = |text: &str| text.parse::<ProvisionState>().map_err(corrupt("provision state"));
    let power = |text: Option<&str>| text.map(|t| unword("power state", t)).transpose();
    let maintenance: Option<&str> = row.get("maintenance");
    Ok(Node {
        id: row.get::<&str, _>("id").parse().map_err(corrupt("node id"))?,
        name: row.get::<&str, _>("name").parse::<NodeName>().map_err(corrupt("node name"))?,
        version: row.get("version"),
        visit: row.get("visit"),
        driver: record.driver,
        bmc: record.bmc,
        ports: ports(row.get("ports"))?,
        boot_mode: record.boot_mode,
        boot_interface: record.boot_interface,
        properties: record.properties,
        root_device: record.root_device,
        wipe: record.wipe,
        booted_again: record.booted_again,
        resource_class: record.resource_class,
        inventory: record.inventory,
        state: state(row.get("state"))?,
        target: row.get::<Option<&str>, _>("target").map(state).transpose()?,
        state_since: row.get("state_since"),
        phase: from_json("phase", row.get("phase"))?,
        deadline: row.get("deadline"),
        power: power(row.get("power"))?,
        power_seen_at: row.get("power_seen_at"),
        target_power: power(row.get("target_power"))?,
        maintenance: maintenance.map(|m| from_json("maintenance", m)).transpose()?,
        last_error: record.last_error,
        instance: record.instance,
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

/// Writes a node's row, if its version is still the one that was read, and counts the version up.
pub(crate) async fn save(
    tx: &mut SqliteConnection,
    node: &mut Node,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let power = |p: Option<_>| p.map(|p| word("a power state", &p)).transpose();
    let maintenance = node.maintenance.as_ref().map(|m| to_json("maintenance", m)).transpose()?;
    let saved = sqlx::query(
        "UPDATE nodes SET version = version + 1, visit = $3, state = $4, target = $5,
             state_since = $6, phase = $7, deadline = $8, power = $9, power_seen_at = $10,
             target_power = $11, maintenance = $12, record = $13, updated_at = $14
         WHERE id = $1 AND version = $2",
    )
    .bind(node.id.to_string())
    .bind(node.version)
    .bind(node.visit)
    .bind(node.state.as_str())
    .bind(node.target.map(ProvisionState::as_str))
    .bind(node.state_since)
    .bind(to_json("a phase", &node.phase)?)
    .bind(node.deadline)
    .bind(power(node.power)?)
    .bind(node.power_seen_at)
    .bind(power(node.target_power)?)
    .bind(maintenance)
    .bind(to_json("a node's record", &Record::of(node))?)
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("save a node"))?;
    if saved.rows_affected() != 1 {
        return Err(StoreError::Stale(node.name.clone()));
    }
    node.version += 1;
    node.updated_at = now;
    Ok(())
}
