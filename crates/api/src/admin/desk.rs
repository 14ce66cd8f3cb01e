//! What the administrator's routes ask the rest of the daemon.

use std::{future::Future, sync::Arc};

use serde_json::Value;
use tokio::sync::watch;
use undercloud_image::{catalog::Image, oci::ContainerImage};
use undercloud_model::{
    NodeId, NodeName,
    consent::WipeScope,
    node::{Maintenance, NewNode, Verb},
};

use super::{
    Accepted, ApprovalRequest, BmcQuery, BmcRequest, BmcSwitch, BmcView, CloudAccess,
    CloudApproval, CloudRequest, DeploymentView, DisksView, EnrolOutcome, EventPage, EventQuery,
    LabMachine, LabPower, NodeRef, NodeView, PlanView, Removed, Reporter, Status, TaskRequest,
};
use crate::ApiError;

/// Answers the administrator; implemented by the binary over store, engine and lab.
pub trait AdminDesk: Send + Sync + 'static {
    /// What runs, since when, and what failed last.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// All nodes, ordered by name.
    fn nodes(&self) -> impl Future<Output = Result<Vec<NodeView>, ApiError>> + Send;

    /// One node. The count of its pending requests is read before the record: a request that is no
    /// longer pending has left its mark there, and who follows it sees no gap.
    fn node(&self, node: &NodeRef) -> impl Future<Output = Result<NodeView, ApiError>> + Send;

    /// Enrols machines, all or none. One that is known by name, BMC and interfaces is left as it
    /// is, so that an import can be repeated.
    fn enrol(
        &self,
        nodes: Vec<NewNode>,
    ) -> impl Future<Output = Result<Vec<EnrolOutcome>, ApiError>> + Send;

    /// Forgets a node that nothing is installed on. By `force`, also a machine of a cloud.
    fn forget(
        &self,
        node: NodeId,
        force: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Takes a request if the node's state allows it: the intent is durable when this returns, and
    /// the engine has been woken. What a cloud loses a machine by is taken by `force` alone.
    fn request(
        &self,
        node: NodeId,
        verb: Verb,
        force: bool,
    ) -> impl Future<Output = Result<Accepted, ApiError>> + Send;

    /// What would happen to a node's disks.
    fn disks(
        &self,
        node: NodeId,
        wipe: WipeScope,
    ) -> impl Future<Output = Result<DisksView, ApiError>> + Send;

    /// Writes down that somebody agreed to what [`AdminDesk::disks`] says now, if it is what the
    /// request names.
    fn approve(
        &self,
        node: NodeId,
        wipe: WipeScope,
        request: ApprovalRequest,
    ) -> impl Future<Output = Result<DisksView, ApiError>> + Send;

    /// Takes back what was agreed to for a node.
    fn withdraw(&self, node: NodeId) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Begins or ends a node's maintenance.
    fn maintain(
        &self,
        node: NodeId,
        maintenance: Option<Maintenance>,
    ) -> impl Future<Output = Result<NodeView, ApiError>> + Send;

    /// Events after a cursor, oldest first; nothing is waited for.
    fn events(&self, query: EventQuery)
    -> impl Future<Output = Result<EventPage, ApiError>> + Send;

    /// Changes whenever there are new events.
    fn news(&self) -> watch::Receiver<u64>;

    /// All images, ordered by name.
    fn images(&self) -> impl Future<Output = Result<Vec<Image>, ApiError>> + Send;

    /// Takes an image, in the place of one of the same name. Its blob is there.
    fn register(&self, image: Image) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Removes an image, and its blob if nothing else needs it. By `force`, also one that nodes have.
    fn unregister(
        &self,
        name: &str,
        force: bool,
    ) -> impl Future<Output = Result<Removed, ApiError>> + Send;

    /// All container images, ordered by name.
    fn containers(&self) -> impl Future<Output = Result<Vec<ContainerImage>, ApiError>> + Send;

    /// Makes these what there is of container images. Their blobs are there.
    fn register_containers(
        &self,
        images: Vec<ContainerImage>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The lab's machines, ordered by name.
    fn lab(&self) -> impl Future<Output = Result<Vec<LabMachine>, ApiError>> + Send;

    /// Starts or stops a machine of the lab.
    fn lab_power(
        &self,
        machine: &str,
        power: LabPower,
    ) -> impl Future<Output = Result<LabMachine, ApiError>> + Send;

    /// The virtual BMCs of libvirt's domains, ordered by domain.
    fn bmcs(&self) -> impl Future<Output = Result<Vec<BmcView>, ApiError>> + Send;

    /// One of them.
    fn bmc(
        &self,
        domain: &str,
        query: BmcQuery,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Makes one, not started; the view has its password.
    fn add_bmc(
        &self,
        request: BmcRequest,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Starts or stops one, now and for after a restart.
    fn switch_bmc(
        &self,
        domain: &str,
        switch: BmcSwitch,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Takes one away; the domain stays.
    fn remove_bmc(&self, domain: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// What would be installed; nothing is touched.
    fn cloud_plan(
        &self,
        request: CloudRequest,
    ) -> impl Future<Output = Result<PlanView, ApiError>> + Send;

    /// Writes down that somebody agreed to what the plan does to disks, if it is still that plan;
    /// says of which machines.
    fn approve_cloud(
        &self,
        request: CloudApproval,
    ) -> impl Future<Output = Result<Vec<NodeName>, ApiError>> + Send;

    /// All deployments of the cloud, the newest first, without plans and steps.
    fn deployments(&self) -> impl Future<Output = Result<Vec<DeploymentView>, ApiError>> + Send;

    /// One deployment, with its plan and its steps.
    fn deployment(
        &self,
        number: i64,
    ) -> impl Future<Output = Result<DeploymentView, ApiError>> + Send;

    /// Keeps what a verification found.
    fn set_verification(
        &self,
        number: i64,
        report: Value,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// How to reach the cloud that was installed last.
    fn cloud_access(&self) -> impl Future<Output = Result<CloudAccess, ApiError>> + Send;

    /// Does what takes long. Asked for again after a crash, it resumes.
    fn run(
        self: Arc<Self>,
        task: TaskRequest,
        reporter: Reporter,
    ) -> impl Future<Output = Result<Value, ApiError>> + Send;
}
