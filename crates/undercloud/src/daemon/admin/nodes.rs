//! Nodes: enrolment, requests, maintenance.

use undercloud_api::{
    ApiError,
    admin::{Accepted, EnrolOutcome, Enrolled, NodeRef, NodeView, NodesApi},
};
use undercloud_engine::{AgentEndpoint, installed_identity};
use undercloud_model::{
    Caller, ErrorKind, NodeId, PowerAction,
    agent::InstalledIdentity,
    node::{Maintenance, NewNode, Node, ProvisionState, Verb},
};
use undercloud_store as store;

use super::Admin;
use crate::{
    clock,
    daemon::{agents::api_error, image_shelf, running::AGENTS_SETTING},
};

impl Admin {
    async fn view(&self, id: NodeId) -> Result<NodeView, ApiError> {
        // The requests first: one that is gone by then has left its mark on the node.
        let pending = self.store.pending(id).await.map_err(api_error)?;
        let node = self.store.node(id).await.map_err(api_error)?;
        let ssh_host_key = self.store.ssh_host_key(id).await.map_err(api_error)?;
        Ok(NodeView { node, pending, ssh_host_key })
    }
}

/// What a machine is after this, if a cloud that it is a machine of loses it.
const fn lost_by(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Undeploy => Some("undeployed"),
        Verb::Power { action: PowerAction::Off | PowerAction::SoftOff } => Some("switched off"),
        Verb::Power { action: PowerAction::On | PowerAction::Cycle | PowerAction::Reset }
        | Verb::Manage
        | Verb::Inspect
        | Verb::Provide { .. }
        | Verb::Deploy(_)
        | Verb::Abort
        | Verb::BootDevice { .. } => None,
    }
}

impl NodesApi for Admin {
    async fn nodes(&self) -> Result<Vec<NodeView>, ApiError> {
        // As in `view`: the requests first.
        let pending = self.store.all_pending().await.map_err(api_error)?;
        let nodes = self.store.nodes().await.map_err(api_error)?;
        let mut keys = self.store.ssh_host_keys().await.map_err(api_error)?;
        let view = |node: Node| {
            let pending = pending.get(&node.id).copied().unwrap_or_default();
            let ssh_host_key = keys.remove(&node.id);
            NodeView { node, pending, ssh_host_key }
        };
        Ok(nodes.into_iter().map(view).collect())
    }

    async fn node(&self, node: &NodeRef) -> Result<NodeView, ApiError> {
        let found = match node {
            NodeRef::Id(id) => self.store.node(id).await,
            NodeRef::Name(name) => self.store.node(name).await,
        };
        self.view(found.map_err(api_error)?.id).await
    }

    async fn enrol(
        &self,
        caller: &Caller,
        nodes: Vec<NewNode>,
    ) -> Result<Vec<EnrolOutcome>, ApiError> {
        let done = self
            .store
            .asked_by(caller)
            .import_nodes(nodes, clock::now_ms())
            .await
            .map_err(api_error)?;
        let outcome = |done: &store::Enrolled| {
            let outcome = match done {
                store::Enrolled::Created(_) => Enrolled::Created,
                store::Enrolled::Changed(_) => Enrolled::Updated,
                store::Enrolled::Same(_) => Enrolled::Unchanged,
            };
            let node = done.node();
            EnrolOutcome { node: node.id, name: node.name.clone(), outcome }
        };
        Ok(done.iter().map(outcome).collect())
    }

    async fn forget(&self, caller: &Caller, node: NodeId, force: bool) -> Result<(), ApiError> {
        self.clouds.may_lose(node, force, "deleted").await?;
        self.store.asked_by(caller).delete_node(node, clock::now_ms()).await.map_err(api_error)
    }

    async fn request(
        &self,
        caller: &Caller,
        node: NodeId,
        verb: Verb,
        force: bool,
    ) -> Result<Accepted, ApiError> {
        if let Some(what) = lost_by(&verb) {
            self.clouds.may_lose(node, force, what).await?;
        }
        self.site.allows(&verb)?;
        let now = clock::now_ms();
        image_shelf::can_boot(&self.store, node, &verb).await?;
        let requested =
            self.store.asked_by(caller).request(node, verb, now).await.map_err(api_error)?;
        Ok(Accepted { node, cursor: requested.cursor, at: now, request: requested.intent })
    }

    async fn renew_identity(
        &self,
        caller: &Caller,
        node: NodeId,
    ) -> Result<InstalledIdentity, ApiError> {
        let found = self.store.node(node).await.map_err(api_error)?;
        if found.state != ProvisionState::Active {
            let (name, state) = (&found.name, found.state.as_str());
            let message = format!("{name} has no operating system of ours: it is `{state}`");
            return Err(ApiError::new(ErrorKind::Conflict, message)
                .hint(format_args!("undercloud node deploy {name}")));
        }
        let ca = self.state.pki().join("ca.pem");
        let ca_pem = tokio::fs::read_to_string(&ca).await.map_err(|error| {
            let message = format!("cannot read {}: {error}", ca.display());
            ApiError::new(ErrorKind::Unavailable, message)
        })?;
        let api = self.store.setting(AGENTS_SETTING).await.map_err(api_error)?;
        let api: String = api.ok_or_else(|| {
            ApiError::new(ErrorKind::Conflict, "there is no network that agents call from")
                .hint("undercloud lab create, or undercloud serve --help")
        })?;
        let renewed = self.store.asked_by(caller).renew_machine_key(node, clock::now_ms()).await;
        let key = renewed.map_err(api_error)?;
        Ok(installed_identity(&found, &AgentEndpoint { api, ca_pem }, &key))
    }

    async fn maintain(
        &self,
        caller: &Caller,
        node: NodeId,
        maintenance: Option<Maintenance>,
    ) -> Result<NodeView, ApiError> {
        let now = clock::now_ms();
        let changed = self.store.asked_by(caller).set_maintenance(node, maintenance, now).await;
        self.view(changed.map_err(api_error)?.id).await
    }
}
