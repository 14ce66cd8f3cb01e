//! Brings an installation's machines to where it wants them, all at once, by the same requests that
//! people make of nodes. What was asked is kept: a daemon after this one waits for what comes of it.

use std::{collections::BTreeMap, time::Duration};

use undercloud_api::{
    ApiError,
    admin::{DeployOrder, Reporter, system_need_bytes},
};
use undercloud_image::catalog::Image;
use undercloud_model::{
    ErrorKind, NodeName, PowerAction,
    consent::WipeScope,
    installation::{Goal, Installation, Order, Step, Want, step},
    node::{Node, ProvisionState, Verb},
};
use undercloud_store::{EventKind, Scope, StoreError};

use super::{
    super::{agents::api_error, image_shelf},
    Installer,
};
use crate::clock;

/// Events that are read at once.
const PAGE: u32 = 1000;

/// A daemon that begins asks each machine for its power once. What was written before is trusted when
/// that brought nothing for so long: its BMC does not answer, or nobody may touch it.
const POWER_MAX_MS: i64 = 90_000;

/// What is next with all machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// All are where they should be, or failed.
    Settled,
    /// Something is under way.
    Wait,
    /// Something was asked, or written meanwhile: to look again.
    Look,
}

impl Installer {
    /// Brings all machines of an installation to `goal`. Those that nobody enrolled are left out: the
    /// plan will say it.
    ///
    /// # Errors
    /// One sentence, of the first machine that failed. All come to their end before: what went well
    /// is not cut off by what did not.
    pub(super) async fn bring(
        &self,
        at: &Installation,
        goal: Goal,
        reporter: &Reporter,
    ) -> Result<(), ApiError> {
        let mut changes = self.clouds.store.changes();
        let mut cursor = self.clouds.store.last_event().await.map_err(api_error)?;
        let mut refused = BTreeMap::new();
        loop {
            changes.mark_unchanged();
            let at = self.current(at.number).await?;
            let next = self.look(&at, goal, &mut refused).await?;
            cursor = self.say_transitions(&at.order, cursor, reporter).await?;
            match next {
                Next::Look => {}
                Next::Wait => {
                    // The store lives as long as this process does.
                    match self.power_is_due() {
                        Duration::ZERO => drop(changes.changed().await),
                        due => drop(tokio::time::timeout(due, changes.changed()).await),
                    }
                }
                Next::Settled => break,
            }
        }
        refused.into_values().next().map_or(Ok(()), Err)
    }

    /// Looks at each machine, and asks it for what leads on.
    async fn look(
        &self,
        at: &Installation,
        goal: Goal,
        refused: &mut BTreeMap<NodeName, ApiError>,
    ) -> Result<Next, ApiError> {
        let mut next = Next::Settled;
        let mut at = at.clone();
        for name in at.order.machines.clone() {
            if refused.contains_key(&name) {
                continue;
            }
            let Some((node, pending)) = self.machine(&name).await? else { continue };
            let asked = at.asked.get(&name).copied().unwrap_or_default();
            if goal != Goal::Inspected && self.is_power_old(&node) {
                next = next.max(Next::Wait);
                continue;
            }
            let error = match step(&node, pending, asked, goal) {
                Step::Reached => continue,
                Step::Wait => {
                    next = next.max(Next::Wait);
                    continue;
                }
                Step::Ask(want) => match self.ask(&at, &node, want).await {
                    Ok(Some(noted)) => {
                        (at, next) = (noted, Next::Look);
                        continue;
                    }
                    // The installation was written meanwhile: its clock was set.
                    Ok(None) => return Ok(Next::Look),
                    // Somebody else asked for something: that first.
                    Err(busy) if busy.kind == ErrorKind::Busy => {
                        next = next.max(Next::Wait);
                        continue;
                    }
                    Err(error) => error,
                },
                Step::Failed(error) => ApiError::new(ErrorKind::Unavailable, error.text),
                Step::Circles => {
                    let message = format!("{name} does not get on, whatever is asked of it");
                    ApiError::new(ErrorKind::Bug, message)
                }
            };
            let error = match error.hint {
                Some(_) => error,
                None => error.hint(format_args!("undercloud node history {name}")),
            };
            refused.insert(name, error);
        }
        Ok(next)
    }

    /// Whether an installed machine's power is known from before this daemon began, and the engine is
    /// still to see it: power that was cut took the daemon's host and its machines alike. In
    /// maintenance nobody looks.
    pub(super) fn is_power_old(&self, node: &Node) -> bool {
        node.state == ProvisionState::Active
            && node.power_seen_at.is_some()
            && node.maintenance.is_none()
            && !self.clouds.store.has_seen_power(node.id)
            && !self.power_is_due().is_zero()
    }

    /// For how long from now the first look at the machines' power is waited for.
    fn power_is_due(&self) -> Duration {
        let until = self.clouds.store.opened_at().saturating_add(POWER_MAX_MS);
        let left = until.saturating_sub(clock::now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }

    /// A node, and how many requests lie before it.
    async fn machine(&self, name: &NodeName) -> Result<Option<(Node, u32)>, ApiError> {
        let store = &self.clouds.store;
        let id = match store.node(name).await {
            Err(StoreError::NoNode(_)) => return Ok(None),
            found => found.map_err(api_error)?.id,
        };
        // The requests first: one that is gone by then has left its mark on the node.
        let pending = store.pending(id).await.map_err(api_error)?;
        let node = store.node(id).await.map_err(api_error)?;
        Ok(Some((node, pending)))
    }

    /// Asks a node, and notes that in one write; nothing, if the installation moved on meanwhile.
    async fn ask(
        &self,
        at: &Installation,
        node: &Node,
        want: Want,
    ) -> Result<Option<Installation>, ApiError> {
        let store = &self.clouds.store;
        let verb = self.verb(&at.order, want).await?;
        self.ground.allows(&verb)?;
        image_shelf::can_boot(store, node.id, &verb).await?;
        let of = (node.id, &node.name);
        match store.installation_asks(at, of, verb, clock::now_ms()).await {
            Err(StoreError::InstallationMoved(_)) => Ok(None),
            asked => asked.map(|(_, noted)| Some(noted)).map_err(api_error),
        }
    }

    async fn verb(&self, order: &Order, want: Want) -> Result<Verb, ApiError> {
        Ok(match want {
            Want::Manage => Verb::Manage,
            Want::Inspect => Verb::Inspect,
            Want::Undeploy => Verb::Undeploy,
            Want::PowerOn => Verb::Power { action: PowerAction::On },
            Want::Provide => {
                let need_bytes = system_need_bytes(&self.images().await?);
                Verb::Provide { wipe: WipeScope::Root { need_bytes } }
            }
            Want::Deploy => {
                let (image, ssh_keys) = (order.image.clone(), order.ssh_keys.clone());
                let images = self.images().await?;
                let found = images.iter().find(|found| found.name == image).ok_or_else(|| {
                    ApiError::not_found(format_args!("there is no image `{image}`"))
                        .hint("undercloud image build")
                })?;
                let order = DeployOrder { image, ssh_keys, ..DeployOrder::default() };
                Verb::Deploy(Box::new(order.with(found)?))
            }
        })
    }

    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let rows = self.clouds.store.images::<Image>().await.map_err(api_error)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }

    /// Says how its machines went from state to state since `cursor`; says from where on next.
    async fn say_transitions(
        &self,
        order: &Order,
        mut cursor: i64,
        reporter: &Reporter,
    ) -> Result<i64, ApiError> {
        let store = &self.clouds.store;
        let mut names = BTreeMap::new();
        for node in store.nodes().await.map_err(api_error)? {
            if order.machines.contains(&node.name) {
                names.insert(node.id, node.name);
            }
        }
        loop {
            let events = store.events_since(Scope::All, cursor, PAGE).await.map_err(api_error)?;
            let Some(last) = events.last() else { return Ok(cursor) };
            cursor = last.id;
            for event in events.iter().filter(|event| event.kind == EventKind::State) {
                if let Some(name) = event.node.and_then(|node| names.get(&node)) {
                    reporter.line(format_args!("{name}: {}", event.text));
                }
            }
        }
    }
}
