//! Answers the administrator from the store, the lab and the blobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::sync::watch;
use undercloud_api::{
    ApiError,
    admin::{
        Accepted, AdminDesk, ApprovalRequest, BmcQuery, BmcRequest, BmcSwitch, BmcView,
        CloudAccess, CloudApproval, CloudRequest, CloudStatus, DeploymentView, DisksView, Endpoint,
        EnrolOutcome, Enrolled, Event, EventPage, EventQuery, InstallationView, LabMachine,
        LabPower, LastFailure, NodeRef, NodeView, PlanView, Removed, Reporter, Severity, Status,
        TaskRequest, Trouble,
    },
};
use undercloud_image::{blob::Blobs, catalog::Image, oci::ContainerImage};
use undercloud_model::{
    NodeId, NodeName, PowerAction, PowerState, UnixMillis,
    consent::WipeScope,
    node::{Maintenance, NewNode, Node, ProvisionState, Verb},
};
use undercloud_store::{self as store, EventKind, Scope, Store};

use super::{
    agents::api_error,
    cloud::Clouds,
    cloud_watch::{self, CLOUD},
    consent, descriptors,
    domains::Domains,
    image_shelf,
    installation::Installer,
    redfish::Redfish,
    registry, retention,
    site::Site,
    tasks::Tasks,
    troubles::Troubles,
};
use crate::{clock, state::StateDir};

/// What the administrator's routes need.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) state: StateDir,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) site: Arc<Site>,
    pub(crate) domains: Domains,
    pub(crate) redfish: Arc<Redfish>,
    pub(crate) clouds: Arc<Clouds>,
    pub(crate) installer: Arc<Installer>,
    pub(crate) tasks: Tasks,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) started_at: UnixMillis,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Admin {
    async fn view(&self, id: NodeId) -> Result<NodeView, ApiError> {
        // The requests first: one that is gone by then has left its mark on the node.
        let pending = self.store.pending(id).await.map_err(api_error)?;
        let node = self.store.node(id).await.map_err(api_error)?;
        let ssh_host_key = self.store.ssh_host_key(id).await.map_err(api_error)?;
        Ok(NodeView { node, pending, ssh_host_key })
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let redfish = self.redfish.address();
        let redfish = redfish.map(|address| Endpoint {
            name: "redfish".into(),
            address: format!("https://{address}/redfish/v1"),
        });
        let site = self.site.endpoints();
        self.endpoints.iter().cloned().chain(site).chain(redfish).collect()
    }

    async fn cloud(&self) -> Result<Option<CloudStatus>, ApiError> {
        let newest = self.clouds.deployments().await?.into_iter().next();
        Ok(newest.map(|row| CloudStatus {
            deployment: row.number,
            started_at: row.started_at,
            is_over: row.ended_at.is_some(),
            failure: row.failure,
            is_verified: row.verification.is_some_and(|v| v["passed"] == true),
        }))
    }

    async fn last_failure(&self) -> Result<Option<LastFailure>, ApiError> {
        let latest = self.store.newest_failure().await.map_err(api_error)?;
        Ok(latest.map(|(name, error)| LastFailure {
            at: error.at,
            node: Some(name.to_string()),
            message: error.text,
        }))
    }
}

/// What to type next, from what there is.
fn next(
    images: usize,
    machines: u32,
    nodes: &BTreeMap<String, u32>,
    cloud: Option<&CloudStatus>,
    troubles: &[Trouble],
) -> Vec<String> {
    let count = |state: ProvisionState| nodes.get(state.as_str()).copied().unwrap_or_default();
    let total: u32 = nodes.values().sum();
    // A cloud that was complete and is ill: what its troubles say comes before all that needs it.
    let is_of_cloud = |trouble: &&Trouble| trouble.machine.is_some() || trouble.part == CLOUD;
    let remedies: Vec<String> =
        troubles.iter().filter(is_of_cloud).filter_map(|trouble| trouble.hint.clone()).collect();
    if cloud.is_some_and(|cloud| cloud.is_over && cloud.failure.is_none()) && !remedies.is_empty() {
        return remedies;
    }
    let next = if images == 0 {
        "undercloud image build"
    } else if machines == 0 && total == 0 {
        "undercloud lab create, or undercloud node import FILE for machines that you have"
    } else if total == 0 {
        "undercloud node import <state>/instackenv.json"
    } else if count(ProvisionState::Active) < total {
        "undercloud up, or undercloud node list"
    } else {
        match cloud {
            None => "undercloud cloud plan, then undercloud cloud install",
            Some(cloud) if !cloud.is_over || cloud.failure.is_some() => {
                "undercloud cloud install: it resumes"
            }
            Some(cloud) if !cloud.is_verified => "undercloud cloud verify",
            Some(_) => "openstack --os-cloud overcloud server list",
        }
    };
    vec![next.to_owned()]
}

/// What to type while an installation is under way.
fn follow(installation: &InstallationView) -> String {
    match installation.deadline {
        Some(_) => "undercloud cloud install follows what is under way; undercloud events".into(),
        None => format!("installation {} {}", installation.number, installation.text),
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

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

impl AdminDesk for Admin {
    async fn status(&self) -> Result<Status, ApiError> {
        let states = self.store.states().await.map_err(api_error)?.into_iter();
        let nodes: BTreeMap<String, u32> =
            states.map(|(state, count)| (state.as_str().to_owned(), count)).collect();
        let machines = self.site.machines();
        let count = |machines: usize| u32::try_from(machines).unwrap_or(u32::MAX);
        let running = machines.iter().filter(|m| m.power == PowerState::On).count();
        let images = self.images().await?.len();
        let cloud = self.cloud().await?;
        let installation = self.clouds.newest_installation().await?;
        let mut troubles = self.troubles.list();
        let powers = cloud_watch::lab_powers(&machines);
        troubles.extend(cloud_watch::troubles(&self.store, &powers).await.map_err(api_error)?);
        let next = match installation.as_ref().filter(|installation| !installation.is_over) {
            Some(installation) => vec![follow(installation)],
            None => next(images, count(machines.len()), &nodes, cloud.as_ref(), &troubles),
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.state.root().display().to_string(),
            definitions: self.clouds.definitions(),
            started_at: self.started_at,
            rss_bytes: resident_bytes(),
            endpoints: self.endpoints(),
            lab_running: (count(running), count(machines.len())),
            last_failure: self.last_failure().await?,
            cursor: self.store.last_event().await.map_err(api_error)?,
            tasks: Vec::new(),
            background: self.tasks.list(),
            troubles,
            descriptors: descriptors::now(),
            room: retention::room(&self.state, &self.store).await,
            next,
            installation,
            cloud,
            nodes,
        })
    }

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

    async fn enrol(&self, nodes: Vec<NewNode>) -> Result<Vec<EnrolOutcome>, ApiError> {
        let done = self.store.import_nodes(nodes, clock::now_ms()).await.map_err(api_error)?;
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

    async fn forget(&self, node: NodeId, force: bool) -> Result<(), ApiError> {
        self.clouds.may_lose(node, force, "deleted").await?;
        self.store.delete_node(node, clock::now_ms()).await.map_err(api_error)
    }

    async fn request(&self, node: NodeId, verb: Verb, force: bool) -> Result<Accepted, ApiError> {
        if let Some(what) = lost_by(&verb) {
            self.clouds.may_lose(node, force, what).await?;
        }
        self.site.allows(&verb)?;
        let now = clock::now_ms();
        image_shelf::can_boot(&self.store, node, &verb).await?;
        let requested = self.store.request(node, verb, now).await.map_err(api_error)?;
        Ok(Accepted { node, cursor: requested.cursor, at: now, request: requested.intent })
    }

    async fn disks(&self, node: NodeId, wipe: WipeScope) -> Result<DisksView, ApiError> {
        consent::view(&self.store, node, &wipe).await
    }

    async fn approve(
        &self,
        node: NodeId,
        wipe: WipeScope,
        request: ApprovalRequest,
    ) -> Result<DisksView, ApiError> {
        consent::approve(&self.store, node, &wipe, request).await
    }

    async fn withdraw(&self, node: NodeId) -> Result<(), ApiError> {
        self.store.withdraw_approvals(node, clock::now_ms()).await.map_err(api_error)
    }

    async fn maintain(
        &self,
        node: NodeId,
        maintenance: Option<Maintenance>,
    ) -> Result<NodeView, ApiError> {
        let now = clock::now_ms();
        let changed = self.store.set_maintenance(node, maintenance, now).await;
        self.view(changed.map_err(api_error)?.id).await
    }

    async fn events(&self, query: EventQuery) -> Result<EventPage, ApiError> {
        let scope = match (query.node, query.deployment) {
            (Some(node), _) => Scope::Node(node),
            (None, Some(number)) => {
                self.clouds.exists(number).await?;
                Scope::Deployment(number)
            }
            (None, None) => Scope::All,
        };
        let found = self.store.events_since(scope, query.after, query.limit).await;
        let found = found.map_err(api_error)?;
        let whose: BTreeSet<NodeId> = found.iter().filter_map(|event| event.node).collect();
        let names = self.store.names_of(&whose).await.map_err(api_error)?;
        let events: Vec<Event> = found
            .into_iter()
            .map(|e| {
                let name = e.node.and_then(|id| names.get(&id)).map(ToString::to_string);
                event(e, name)
            })
            .collect();
        let next = events.last().map_or(query.after, |e| e.cursor);
        Ok(EventPage { events, next })
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }

    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let rows = self.store.images::<Image>().await.map_err(api_error)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }

    async fn register(&self, image: Image) -> Result<(), ApiError> {
        image_shelf::register(&self.store, &self.blobs, image).await?;
        self.site.images_changed().await;
        Ok(())
    }

    async fn unregister(&self, name: &str, force: bool) -> Result<Removed, ApiError> {
        image_shelf::remove(&self.store, &self.blobs, name, force).await
    }

    async fn containers(&self) -> Result<Vec<ContainerImage>, ApiError> {
        registry::current(&self.store).await
    }

    async fn register_containers(&self, images: Vec<ContainerImage>) -> Result<(), ApiError> {
        registry::register(&self.store, &self.blobs, images).await
    }

    async fn lab(&self) -> Result<Vec<LabMachine>, ApiError> {
        Ok(self.site.machines())
    }

    async fn lab_power(&self, machine: &str, power: LabPower) -> Result<LabMachine, ApiError> {
        self.site.power(machine, power).await
    }

    async fn bmcs(&self) -> Result<Vec<BmcView>, ApiError> {
        Ok(self.domains.list())
    }

    async fn bmc(&self, domain: &str, query: BmcQuery) -> Result<BmcView, ApiError> {
        self.domains.show(domain, query)
    }

    async fn add_bmc(&self, request: BmcRequest) -> Result<BmcView, ApiError> {
        self.domains.add(request).await
    }

    async fn switch_bmc(&self, domain: &str, switch: BmcSwitch) -> Result<BmcView, ApiError> {
        self.domains.switch(domain, switch).await
    }

    async fn remove_bmc(&self, domain: &str) -> Result<(), ApiError> {
        self.domains.remove(domain).await
    }

    async fn cloud_plan(&self, request: CloudRequest) -> Result<PlanView, ApiError> {
        self.clouds.plan(&request, &self.site.nics()).await
    }

    async fn approve_cloud(&self, request: CloudApproval) -> Result<Vec<NodeName>, ApiError> {
        self.clouds.approve(request, &self.site.nics()).await
    }

    async fn deployments(&self) -> Result<Vec<DeploymentView>, ApiError> {
        self.clouds.deployments().await
    }

    async fn deployment(&self, number: i64) -> Result<DeploymentView, ApiError> {
        self.clouds.deployment(number).await
    }

    async fn set_verification(&self, number: i64, report: Value) -> Result<(), ApiError> {
        self.clouds.set_verification(number, report).await
    }

    async fn cloud_access(&self) -> Result<CloudAccess, ApiError> {
        self.clouds.access().await
    }

    async fn run(
        self: Arc<Self>,
        task: TaskRequest,
        reporter: Reporter,
    ) -> Result<Value, ApiError> {
        match task {
            TaskRequest::LabCreate { description, kind } => {
                self.site.create(&description, kind, &reporter).await?;
            }
            TaskRequest::LabDelete => {
                let enrolled = self.enrolled_of_lab().await?;
                self.site.delete().await?;
                return Ok(json!({ "enrolled": enrolled }));
            }
            TaskRequest::LabGrow { group, count } => {
                let new = self.site.grow(&group, count, &reporter).await?;
                return Ok(json!({ "new": new }));
            }
            TaskRequest::LabShrink { machines, force } => {
                let gone = self.shrink_lab(machines.into_iter().collect(), force).await?;
                return Ok(json!({ "gone": gone }));
            }
            TaskRequest::CloudInstall { description, ssh_keys, until } => {
                return self.installer.install((description, ssh_keys, until), reporter).await;
            }
        }
        Ok(Value::Null)
    }
}

fn event(event: store::TimelineEvent, name: Option<String>) -> Event {
    Event {
        cursor: event.id,
        at: event.at_ms,
        node: event.node,
        name,
        topic: topic(event.kind).to_owned(),
        severity: match event.severity {
            store::Severity::Info => Severity::Info,
            store::Severity::Warning => Severity::Warning,
            store::Severity::Error => Severity::Error,
        },
        text: match event.times {
            1 => event.text,
            times => format!("{} ({times} times)", event.text),
        },
        data: event.data.unwrap_or_default(),
        deployment: event.run.map(|run| run.deployment),
        run: event.run.map(|run| run.attempt),
        visit: event.visit,
        request: event.request,
        cause: event.cause,
        times: event.times,
    }
}

fn topic(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Request => "request",
        EventKind::Node => "node",
        EventKind::State => "transition",
        EventKind::Action => "action",
        EventKind::Power => "power",
        EventKind::Netboot => "netboot",
        EventKind::Agent => "agent",
        EventKind::Security => "security",
        EventKind::Failure => "failure",
        EventKind::Cloud => "cloud",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_follows_from_what_there_is() {
        let nodes = |state: &str| BTreeMap::from([(state.to_owned(), 2)]);
        let none = BTreeMap::new();
        assert!(next(0, 0, &none, None, &[])[0].contains("image build"));
        assert!(next(5, 0, &none, None, &[])[0].contains("lab create"));
        assert!(next(5, 2, &none, None, &[])[0].contains("node import"));
        assert!(next(5, 2, &nodes("available"), None, &[])[0].contains("up"));
        assert!(next(5, 2, &nodes("active"), None, &[])[0].contains("cloud plan"));
        let mut cloud = CloudStatus {
            deployment: 1,
            started_at: 1,
            is_over: true,
            failure: Some("compute-0 was switched off".into()),
            is_verified: false,
        };
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("resumes"));
        cloud.failure = None;
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("verify"));
        cloud.is_verified = true;
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("openstack"));

        // With a password that Keystone does not take, no client gets in.
        let trouble = |part: &str, hint: &str| Trouble {
            part: part.to_owned(),
            since: 1,
            message: "x".to_owned(),
            hint: Some(hint.to_owned()),
            machine: None,
            service: None,
            is_absent: false,
            said: Vec::new(),
        };
        let troubles = [trouble("network boot", "other"), trouble(CLOUD, "set it back")];
        assert_eq!(next(5, 2, &nodes("active"), Some(&cloud), &troubles), ["set it back"]);
        cloud.failure = Some("x".into());
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &troubles)[0].contains("resumes"));
    }
}
