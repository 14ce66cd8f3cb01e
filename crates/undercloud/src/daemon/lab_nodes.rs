//! The lab's machines as nodes: which are enrolled, and what has to be so before their machines are
//! taken away.

use std::collections::{BTreeMap, BTreeSet};

use undercloud_api::ApiError;
use undercloud_model::{
    Caller, ErrorKind, MacAddr, NodeName,
    node::{Maintenance, Node, ProvisionState},
};

use super::{admin::Admin, agents::api_error};
use crate::clock;

impl Admin {
    /// Nodes whose machines are the lab's; none of them may be at work.
    pub(super) async fn enrolled_of_lab(&self) -> Result<Vec<NodeName>, ApiError> {
        let nodes = self.enrolled(|_| true).await?;
        Ok(nodes.into_iter().map(|node| node.name).collect())
    }

    /// The same, of some of its machines.
    async fn enrolled(&self, of: impl Fn(&NodeName) -> bool) -> Result<Vec<Node>, ApiError> {
        let machines = self.site.nics();
        let chosen = machines.iter().filter(|(name, _)| of(name));
        let macs: BTreeSet<&MacAddr> =
            chosen.flat_map(|(_, nics)| BTreeMap::values(nics)).collect();
        let mut nodes = self.store.nodes().await.map_err(api_error)?;
        nodes.retain(|node| node.ports.iter().any(|port| macs.contains(&port.mac)));
        match nodes.iter().find(|node| node.is_busy()) {
            Some(node) => {
                let (name, phase) = (&node.name, &node.phase);
                let message = format!("{name} is {phase}: its machine cannot be taken away now");
                let hint = format!("wait for that to end, or undercloud node abort {name}");
                Err(ApiError::new(ErrorKind::Busy, message).hint(hint))
            }
            None => Ok(nodes),
        }
    }

    /// Takes machines away from the lab, and out of the list of nodes; says which were there. Those of
    /// an installed cloud by force alone.
    ///
    /// # Errors
    /// One is a cloud's or at work, or cannot be removed.
    pub(super) async fn shrink_lab(
        &self,
        caller: &Caller,
        names: BTreeSet<NodeName>,
        force: bool,
    ) -> Result<Vec<NodeName>, ApiError> {
        let all = self.site.nics();
        if !all.is_empty() && all.keys().all(|name| names.contains(name)) {
            let message = "no machine would be left of the lab";
            let hint = "undercloud lab delete takes the whole lab away";
            return Err(ApiError::new(ErrorKind::Conflict, message).hint(hint));
        }
        let nodes = self.enrolled(|name| names.contains(name)).await?;
        // All of them before the first one goes.
        for node in &nodes {
            self.clouds.may_lose(node.id, force, "taken away").await?;
        }
        let store = self.store.asked_by(caller);
        for node in &nodes {
            let now = clock::now_ms();
            let is_free = matches!(
                node.state,
                ProvisionState::Enroll | ProvisionState::Manageable | ProvisionState::Available
            );
            if !is_free && node.maintenance.is_none() {
                // What the store wants of one that is removed with a system on it, or half of one.
                let reason = Maintenance { reason: Some("its machine is taken away".into()) };
                store.set_maintenance(node.id, Some(reason), now).await.map_err(api_error)?;
            }
            store.delete_node(node.id, now).await.map_err(api_error)?;
        }
        self.site.shrink(&names).await
    }
}
