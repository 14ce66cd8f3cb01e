//! Enrolment: a new node, a changed one, and the addresses that its interfaces get.

use std::{collections::HashSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use sqlx::SqliteConnection;
use undercloud_model::{
    BootMode, MacAddr, NodeId, NodeName, RootDeviceHints, Secret, UnixMillis,
    consent::WipeScope,
    node::{
        BmcAddress, BootInterface, Driver, NewNode, Node, Phase, Port, Properties, ProvisionState,
    },
    timeline::RecordNews,
};
use uuid::Uuid;

use crate::{
    Ident, ProvisioningRange, Store, due,
    error::{StoreError, corrupt, sql, to_json},
    nodes::{self, NodeBmc, Record, find, find_opt, save},
    settings,
    timeline::append,
};

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// The node is new.
    Created(Node),
    /// The node was there and now is as it was written down.
    Changed(Node),
    /// The node was there and is as it was written down.
    Same(Node),
}

impl Enrolled {
    /// The node.
    pub fn node(&self) -> &Node {
        match self {
            Self::Created(node) | Self::Changed(node) | Self::Same(node) => node,
        }
    }
}

/// What somebody wants to be otherwise. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct NodeChange {
    /// Its name.
    pub name: Option<NodeName>,
    /// How it is driven.
    pub driver: Option<Driver>,
    /// Where its BMC answers.
    pub bmc: Option<BmcAddress>,
    /// The BMC's password.
    pub bmc_password: Option<Secret>,
    /// Which firmware it has.
    pub boot_mode: Option<BootMode>,
    /// How its ramdisk gets to it.
    pub boot_interface: Option<BootInterface>,
    /// What the person says about it.
    pub properties: Option<Properties>,
    /// Which disk gets the operating system.
    pub root_device: Option<RootDeviceHints>,
    /// Ironic's `resource_class`.
    pub resource_class: Option<String>,
}

impl Store {
    /// Enrols a machine that is not known yet.
    ///
    /// # Errors
    /// Its name or one of its interfaces is another node's, or there is no address for it.
    pub async fn enrol_node(&self, new: NewNode, now: UnixMillis) -> Result<Node, StoreError> {
        let mut write = self.write().await?;
        if find_opt(write.sql(), &Ident::from(&new.name)).await?.is_some() {
            return Err(StoreError::NameTaken(new.name));
        }
        let node = insert(write.sql(), new, &mut Addresses::default(), now).await?;
        each_has_its_own_bmc(write.sql(), &[&node]).await?;
        write.commit("enrol a node").await?;
        Ok(node)
    }

    /// Enrols machines, or brings the nodes of those names to what is written down now: all of
    /// them, or none.
    ///
    /// # Errors
    /// As [`Store::enrol_node`]; or a node has other interfaces, or is busy; or two would have the
    /// BMC of one machine.
    pub async fn import_nodes(
        &self,
        machines: Vec<NewNode>,
        now: UnixMillis,
    ) -> Result<Vec<Enrolled>, StoreError> {
        let mut write = self.write().await?;
        let mut done = Vec::with_capacity(machines.len());
        let mut addresses = Addresses::default();
        for new in machines {
            done.push(import(write.sql(), new, &mut addresses, now).await?);
        }
        let is_touched = |enrolled: &&Enrolled| !matches!(enrolled, Enrolled::Same(_));
        let touched: Vec<&Node> = done.iter().filter(is_touched).map(Enrolled::node).collect();
        if !touched.is_empty() {
            // Only now: BMCs may have changed hands.
            each_has_its_own_bmc(write.sql(), &touched).await?;
            write.commit("enrol nodes").await?;
        }
        Ok(done)
    }

    /// One machine, as [`Store::import_nodes`].
    ///
    /// # Errors
    /// As there.
    pub async fn import_node(&self, new: NewNode, now: UnixMillis) -> Result<Enrolled, StoreError> {
        let name = new.name.clone();
        let done = self.import_nodes(vec![new], now).await?;
        done.into_iter().next().ok_or_else(|| StoreError::NoNode(name.to_string()))
    }

    /// Changes a node's record.
    ///
    /// # Errors
    /// There is no such node, the new name is taken, or the node is busy.
    pub async fn change_node(
        &self,
        ident: impl Into<Ident>,
        change: NodeChange,
        now: UnixMillis,
    ) -> Result<Node, StoreError> {
        let mut write = self.write().await?;
        let mut node = find(write.sql(), &ident.into()).await?;
        if apply(write.sql(), &mut node, change, now).await? {
            each_has_its_own_bmc(write.sql(), &[&node]).await?;
            write.commit("change a node").await?;
        }
        Ok(node)
    }
}

async fn import(
    tx: &mut SqliteConnection,
    new: NewNode,
    addresses: &mut Addresses,
    now: UnixMillis,
) -> Result<Enrolled, StoreError> {
    let Some(mut node) = find_opt(tx, &Ident::from(&new.name)).await? else {
        return insert(tx, new, addresses, now).await.map(Enrolled::Created);
    };
    if node.ports.iter().map(|p| p.mac).ne(new.macs.iter().copied()) {
        return Err(StoreError::WrongState {
            operation: "change the interfaces of",
            node: node.name,
            state: node.state.to_string(),
            hint: "; delete it and import it again",
        });
    }
    let change = NodeChange {
        name: None,
        driver: Some(new.driver),
        bmc: Some(new.bmc),
        bmc_password: Some(new.bmc_password),
        boot_mode: Some(new.boot_mode),
        boot_interface: Some(new.boot_interface),
        properties: Some(new.properties),
        root_device: Some(new.root_device),
        resource_class: Some(new.resource_class),
    };
    let is_changed = apply(tx, &mut node, change, now).await?;
    Ok(if is_changed { Enrolled::Changed(node) } else { Enrolled::Same(node) })
}

/// None of these nodes has the BMC of another's machine: each would switch it off under the other.
/// All are read once, however many these are.
async fn each_has_its_own_bmc(
    tx: &mut SqliteConnection,
    nodes: &[&Node],
) -> Result<(), StoreError> {
    let all = nodes::bmcs(tx).await?;
    for node in nodes {
        // At another address it is another machine's.
        let near = all.get(&node.bmc.address.to_canonical()).into_iter().flatten();
        let is_same = |other: &&NodeBmc| {
            other.id != node.id && node.bmc.is_same_machine(node.driver, &other.bmc, other.driver)
        };
        // As they are listed for people.
        if let Some(other) =
            near.filter(is_same).min_by(|a, b| a.name.as_str().cmp(b.name.as_str()))
        {
            let (place, node, other) = (node.bmc.place(), node.name.clone(), other.name.clone());
            return Err(StoreError::BmcTaken { place, node, other });
        }
    }
    Ok(())
}

/// Says whether anything changed.
async fn apply(
    tx: &mut SqliteConnection,
    node: &mut Node,
    change: NodeChange,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let before = node.clone();
    let NodeChange {
        name,
        driver,
        bmc,
        bmc_password,
        boot_mode,
        boot_interface,
        properties,
        root_device,
        resource_class,
    } = change;
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut node.driver, driver);
    set(&mut node.bmc, bmc);
    set(&mut node.boot_mode, boot_mode);
    set(&mut node.boot_interface, boot_interface);
    set(&mut node.properties, properties);
    set(&mut node.root_device, root_device);
    set(&mut node.resource_class, resource_class);
    if let Some(name) = name.filter(|n| *n != node.name) {
        if find_opt(tx, &Ident::from(&name)).await?.is_some() {
            return Err(StoreError::NameTaken(name));
        }
        node.name = name;
    }
    let id = node.id.to_string();
    let password: String = sqlx::query_scalar("SELECT bmc_password FROM nodes WHERE id = $1")
        .bind(&id)
        .fetch_one(&mut *tx)
        .await
        .map_err(sql("read a BMC's password"))?;
    let password = Secret::new(password);
    let new_password = bmc_password.filter(|p| *p != password);
    if *node == before && new_password.is_none() {
        return Ok(false);
    }
    if before.is_busy() {
        return Err(StoreError::WrongState {
            operation: "change",
            node: before.name,
            state: before.state.to_string(),
            hint: "; wait for that to end",
        });
    }
    save(tx, node, now).await?;
    sqlx::query("UPDATE nodes SET name = $2, bmc_password = $3 WHERE id = $1")
        .bind(&id)
        .bind(node.name.as_str())
        .bind(new_password.as_ref().unwrap_or(&password).expose())
        .execute(&mut *tx)
        .await
        .map_err(sql("change a node"))?;
    // Its BMC may answer now.
    due::is_due(tx, node.id, now).await?;
    append(tx, Some(node.id), &RecordNews::Changed.into(), now).await?;
    Ok(true)
}

async fn insert(
    tx: &mut SqliteConnection,
    new: NewNode,
    addresses: &mut Addresses,
    now: UnixMillis,
) -> Result<Node, StoreError> {
    for mac in &new.macs {
        if let Some(node) = owner(tx, *mac).await? {
            return Err(StoreError::MacTaken { mac: *mac, node, new: new.name });
        }
    }
    let ports = new.macs.iter().zip(addresses.give(tx, &new).await?);
    let ports = ports.map(|(mac, address)| Port { mac: *mac, address }).collect();
    let node = fresh(&new, ports, now);
    sqlx::query(
        "INSERT INTO nodes (id, name, version, visit, state, state_since, phase, record,
             bmc_password, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $6, $6)",
    )
    .bind(node.id.to_string())
    .bind(node.name.as_str())
    .bind(node.version)
    .bind(node.visit)
    .bind(node.state.as_str())
    .bind(now)
    .bind(to_json("a phase", &node.phase)?)
    .bind(to_json("a node's record", &Record::of(&node))?)
    .bind(new.bmc_password.expose())
    .execute(&mut *tx)
    .await
    .map_err(sql("enrol a node"))?;
    for (position, port) in (0i64..).zip(&node.ports) {
        sqlx::query("INSERT INTO ports (mac, node, position, address) VALUES ($1, $2, $3, $4)")
            .bind(port.mac.to_string())
            .bind(node.id.to_string())
            .bind(position)
            .bind(port.address.to_string())
            .execute(&mut *tx)
            .await
            .map_err(sql("enrol a port"))?;
    }
    let event = RecordNews::Enrolled { name: node.name.clone(), bmc: node.bmc.place().to_string() };
    append(tx, Some(node.id), &event.into(), now).await?;
    Ok(node)
}

fn fresh(new: &NewNode, ports: Vec<Port>, now: UnixMillis) -> Node {
    Node {
        id: NodeId::from_uuid(Uuid::new_v4()),
        name: new.name.clone(),
        version: 1,
        visit: 0,
        driver: new.driver,
        bmc: new.bmc.clone(),
        ports,
        boot_mode: new.boot_mode,
        boot_interface: new.boot_interface,
        properties: new.properties.clone(),
        root_device: new.root_device.clone(),
        wipe: WipeScope::default(),
        booted_again: false,
        resource_class: new.resource_class.clone(),
        inventory: None,
        state: ProvisionState::Enroll,
        target: None,
        state_since: now,
        phase: Phase::Idle,
        deadline: None,
        power: None,
        power_seen_at: None,
        target_power: None,
        maintenance: None,
        last_error: None,
        instance: None,
        created_at: now,
        updated_at: now,
    }
}

async fn owner(tx: &mut SqliteConnection, mac: MacAddr) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM nodes JOIN ports ON node = id WHERE mac = $1")
        .bind(mac.to_string())
        .fetch_optional(tx)
        .await
        .map_err(sql("find a port"))
}

/// The addresses of the range that no port has, as one transaction gives them away. Which are taken
/// is read once, by the first new node.
#[derive(Default)]
struct Addresses(Option<Free>);

struct Free {
    range: ProvisioningRange,
    taken: HashSet<Ipv4Addr>,
    /// All before it are taken.
    next: u32,
}

impl Addresses {
    /// The lowest that are free, one for each interface.
    async fn give(
        &mut self,
        tx: &mut SqliteConnection,
        new: &NewNode,
    ) -> Result<Vec<Ipv4Net>, StoreError> {
        if self.0.is_none() {
            self.0 = Some(Free::read(tx).await?);
        }
        let free = self.0.as_mut().ok_or(StoreError::NoRange)?;
        free.give(new.macs.len()).ok_or_else(|| {
            let ProvisioningRange { first, last, .. } = free.range;
            StoreError::NoAddress { node: new.name.clone(), first, last }
        })
    }
}

impl Free {
    async fn read(tx: &mut SqliteConnection) -> Result<Self, StoreError> {
        let range = settings::provisioning_range(tx).await?.ok_or(StoreError::NoRange)?;
        let texts: Vec<String> = sqlx::query_scalar("SELECT address FROM ports")
            .fetch_all(tx)
            .await
            .map_err(sql("list the addresses"))?;
        let address = |text: &String| text.parse::<Ipv4Net>().map(|net| net.addr());
        let taken = texts.iter().map(address).collect::<Result<_, _>>();
        let taken = taken.map_err(corrupt("port's address"))?;
        let next = u32::from(range.first);
        Ok(Self { range, taken, next })
    }

    /// Nothing, if there are not so many.
    fn give(&mut self, count: usize) -> Option<Vec<Ipv4Net>> {
        let given: Vec<Ipv4Net> = (self.next..=u32::from(self.range.last))
            .map(Ipv4Addr::from)
            .filter(|address| !self.taken.contains(address))
            .filter_map(|address| Ipv4Net::new(address, self.range.network.prefix_len()).ok())
            .take(count)
            .collect();
        if given.len() < count {
            return None;
        }
        if let Some(last) = given.last() {
            self.next = u32::from(last.addr()).saturating_add(1);
        }
        self.taken.extend(given.iter().map(Ipv4Net::addr));
        Some(given)
    }
}
