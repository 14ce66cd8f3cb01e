//! `/v1/cloud`: what would be installed, what was, and how to reach it. Installing is a task.
//!
//! Plans are the cloud crate's; here they are JSON that is passed on.

use std::future::Future;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use undercloud_model::{
    Caller, Digest, NodeName, Secret, UnixMillis, agent::Outcome, expose_on_the_wire,
    installation::Installation,
};

use super::Context;
use crate::{ApiError, body::JsonBody};

/// A cloud as a person describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudRequest {
    /// The text of `cloud.toml`.
    pub description: String,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// Digest of the plan; what `--approve` takes.
    pub digest: Digest,
    /// The deployment that has this plan, if one has.
    pub deployment: Option<i64>,
    /// Whether `--approve` is wanted: it erases a disk that nobody agreed to, of a machine that is
    /// not the lab's.
    pub needs_approval: bool,
    /// Machines that are not the lab's and have to be inspected first: nobody knows their disks.
    #[serde(default)]
    pub uninspected: Vec<NodeName>,
    /// What a site's own files have to do with it, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteView>,
    /// The plan.
    pub plan: Value,
}

/// A site's own definitions, and what they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteView {
    /// Where they are.
    pub directory: String,
    /// The files.
    pub files: Vec<SiteFile>,
    /// Steps that the plan has because of them.
    pub added: Vec<String>,
    /// Steps that do something else because of them.
    pub changed: Vec<String>,
    /// Steps that the plan would have without them.
    pub removed: Vec<String>,
}

/// A file of a site's definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteFile {
    /// Its path below the directory.
    pub path: String,
    /// `adds` or `replaces`.
    pub effect: String,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its number.
    pub number: i64,
    /// Digest of its plan.
    pub digest: Digest,
    /// When it was begun.
    pub created_at: UnixMillis,
    /// How often it was run.
    pub attempt: i64,
    /// When the last run began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it failed.
    pub failure: Option<String>,
    /// What the last verification found.
    pub verification: Option<Value>,
    /// The plan, where one deployment was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Value>,
    /// The steps that ended, where one deployment was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<DeploymentStep>,
    /// What its run waits for, where one deployment was asked for and a run is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<StepWait>,
    /// All its runs, the first first, where one deployment was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<DeploymentRun>,
    /// The installation that its last run is of, where one deployment was asked for and the newest
    /// installation is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationView>,
}

/// An installation: from enrolled machines to a cloud that works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationView {
    /// Its number.
    pub number: i64,
    /// Where it is, in a word: `machines`, `installing`, `verified`, `failed`.
    pub state: String,
    /// The same for people.
    pub text: String,
    /// Since when.
    pub since: UnixMillis,
    /// When that has failed.
    pub deadline: Option<UnixMillis>,
    /// The deployment that its run is of, once that has begun.
    pub deployment: Option<i64>,
    /// Whether nothing follows any more.
    pub is_over: bool,
}

impl From<&Installation> for InstallationView {
    fn from(installation: &Installation) -> Self {
        Self {
            number: installation.number,
            state: installation.state.word().to_owned(),
            text: installation.state.to_string(),
            since: installation.since,
            deadline: installation.deadline,
            deployment: installation.deployment,
            is_over: installation.is_over(),
        }
    }
}

/// A run of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentRun {
    /// Which, from 1.
    pub attempt: i64,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl DeploymentView {
    /// Whether its last run ended well.
    pub fn is_complete(&self) -> bool {
        self.ended_at.is_some() && self.failure.is_none()
    }
}

/// A step of a deployment that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStep {
    /// Its key in the plan.
    pub key: String,
    /// In which run.
    pub attempt: i64,
    /// When.
    pub ended_at: UnixMillis,
    /// How.
    pub outcome: Outcome,
}

/// A step of a run that was ordered and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWait {
    /// Whose.
    pub machine: NodeName,
    /// What it does, for people.
    pub title: String,
    /// Since when.
    pub since: UnixMillis,
    /// When the run gives it up, at the pace that its machine has shown until now.
    pub deadline: UnixMillis,
}

/// How to reach the cloud as its administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudAccess {
    /// The deployment.
    pub deployment: i64,
    /// `https://10.0.0.10:5000/v3`.
    pub auth_url: String,
    /// The file with the CA that signed it.
    pub ca_file: String,
    /// `admin`.
    pub user: String,
    /// Its password.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub password: Secret,
    /// `admin`.
    pub project: String,
    /// `RegionOne`.
    pub region: String,
    /// `10.0.0.10`, where its APIs are.
    pub public_address: std::net::Ipv4Addr,
    /// `https://10.0.0.10/`, if the cloud has that feature.
    #[serde(default)]
    pub dashboard: Option<String>,
    /// The provider network.
    pub public_network: PublicNetwork,
    /// The machines, with their roles.
    pub machines: Vec<(String, String)>,
}

/// The network that floating addresses are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicNetwork {
    /// Its addresses.
    pub cidr: ipnet::Ipv4Net,
    /// The router in it.
    pub gateway: std::net::Ipv4Addr,
    /// The first floating address.
    pub floating_first: std::net::Ipv4Addr,
    /// The last.
    pub floating_last: std::net::Ipv4Addr,
}

/// What would be installed, what was, and how to reach it.
///
/// Implemented by the binary.
pub trait CloudApi: Send + Sync + 'static {
    /// What would be installed; nothing is touched.
    fn cloud_plan(
        &self,
        request: CloudRequest,
    ) -> impl Future<Output = Result<PlanView, ApiError>> + Send;

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
        caller: &Caller,
        number: i64,
        report: Value,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// How to reach the cloud that was installed last.
    fn cloud_access(&self) -> impl Future<Output = Result<CloudAccess, ApiError>> + Send;
}

pub(super) async fn plan<A: CloudApi>(
    State(context): State<Context<A>>,
    JsonBody(request): JsonBody<CloudRequest>,
) -> Result<Json<PlanView>, ApiError> {
    context.0.api.cloud_plan(request).await.map(Json)
}

pub(super) async fn list<A: CloudApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<DeploymentView>>, ApiError> {
    context.0.api.deployments().await.map(Json)
}

pub(super) async fn show<A: CloudApi>(
    State(context): State<Context<A>>,
    Path(number): Path<i64>,
) -> Result<Json<DeploymentView>, ApiError> {
    context.0.api.deployment(number).await.map(Json)
}

pub(super) async fn verified<A: CloudApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<i64>,
    JsonBody(report): JsonBody<Value>,
) -> Result<StatusCode, ApiError> {
    context.0.api.set_verification(&caller, number, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn access<A: CloudApi>(
    State(context): State<Context<A>>,
) -> Result<Json<CloudAccess>, ApiError> {
    context.0.api.cloud_access().await.map(Json)
}
