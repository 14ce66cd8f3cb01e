//! `/v1/nodes`: enrolment, requests and maintenance.

use std::convert::Infallible;

use axum::{
    Extension, Json,
    extract::{Path, Query, Request, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_image::catalog::{Encoding, Image, ImageKind};
use undercloud_model::{
    BootDevice, Caller, NodeId, NodeName, PowerAction, SshHostKey, UnixMillis,
    agent::{ImageEncoding, ImageSource, InstalledIdentity},
    network_data::NetworkData,
    node::{DeployRequest, InstanceImage, LastError, Maintenance, NewNode, Node, Verb},
};

use super::{Context, Event, ImagesApi, instackenv::Instackenv};
use crate::{
    ApiError,
    body::{self, JsonBody},
};

/// A node by its id or its name, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeRef {
    /// By id.
    Id(NodeId),
    /// By name. May be no legal name: then there is no such node.
    Name(String),
}

impl From<&str> for NodeRef {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

impl std::str::FromStr for NodeRef {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

/// A node, and whether requests lie before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The record.
    #[serde(flatten)]
    pub node: Node,
    /// Requests that the engine has not looked at.
    pub pending: u32,
    /// By which key the installed system's ssh server is known, as its agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_host_key: Option<SshHostKey>,
}

impl NodeView {
    /// Whether nothing is under way and nothing was asked.
    pub fn is_settled(&self) -> bool {
        self.pending == 0 && !self.node.is_busy()
    }
}

/// A request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Of which node.
    pub node: NodeId,
    /// The newest event when it was taken: follow from here.
    pub cursor: i64,
    /// When it was taken: a failure from then on is its own.
    pub at: UnixMillis,
    /// Under which number it waits for the engine; 0 follows what is under way anyhow.
    #[serde(default)]
    pub request: i64,
}

impl Accepted {
    /// Why the request failed, of a node that has settled after it.
    pub fn failure<'v>(&self, settled: &'v NodeView) -> Option<&'v LastError> {
        settled.node.last_error.as_ref().filter(|error| error.at >= self.at)
    }

    /// Why the engine did not take the request up, if `event` says that.
    pub fn not_taken<'e>(&self, event: &'e Event) -> Option<&'e str> {
        let is_ours = self.request != 0 && event.data[Verb::NOT_TAKEN] == self.request;
        is_ours.then_some(event.text.as_str())
    }
}

/// What enrolment did with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolOutcome {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// What happened.
    pub outcome: Enrolled,
}

/// What enrolment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrolled {
    /// It is new.
    Created,
    /// It was there, the same.
    Unchanged,
    /// It was there, and its BMC's address or credentials are now as given.
    Updated,
}

/// A request as it is asked: the image by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum VerbRequest {
    /// [`Verb::Manage`].
    Manage,
    /// [`Verb::Inspect`].
    Inspect,
    /// [`Verb::Provide`].
    Provide {
        /// Of all disks, and not of the one for the system alone.
        #[serde(default)]
        all_disks: bool,
    },
    /// [`Verb::Deploy`].
    Deploy(DeployOrder),
    /// [`Verb::Undeploy`].
    Undeploy,
    /// [`Verb::Abort`].
    Abort,
    /// [`Verb::Power`].
    Power {
        /// How.
        action: PowerAction,
    },
    /// [`Verb::BootDevice`].
    BootDevice {
        /// From where.
        device: BootDevice,
        /// For good, or only the next time.
        persistent: bool,
    },
}

/// What to install.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployOrder {
    /// The image's name.
    pub image: String,
    /// The host name; the node's own if none is given.
    pub hostname: Option<NodeName>,
    /// Public keys for people's ssh.
    pub ssh_keys: Vec<String>,
    /// `user_data` of the config drive.
    pub user_data: Option<String>,
    /// `network_data.json` of the config drive.
    pub network_data: Option<serde_json::Value>,
}

/// How much it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForceQuery {
    /// Also if the node is a machine of a cloud, which loses it; if an image is what nodes have.
    pub force: bool,
}

/// Why nobody should touch a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// In the words of who says so.
    pub reason: Option<String>,
}

impl DeployOrder {
    /// The request that it is with this image.
    ///
    /// # Errors
    /// It is no whole disk, or the network's description cannot be made.
    pub fn with(self, image: &Image) -> Result<DeployRequest, ApiError> {
        if image.kind != ImageKind::Disk {
            let (name, kind) = (&image.name, image.kind);
            return Err(ApiError::invalid(format!("image {name} is a {kind}, not a whole disk"))
                .hint("type `undercloud image list` to see which there are"));
        }
        if let Some(data) = &self.network_data {
            check_network_data(data)?;
        }
        let source = ImageSource {
            blob: image.digest,
            encoding: match image.encoding {
                Encoding::Plain => ImageEncoding::Raw,
                Encoding::Zstd => ImageEncoding::Zstd,
            },
            disk_bytes: image.content.size,
            disk_digest: image.content.digest,
        };
        let image = InstanceImage {
            name: image.name.clone(),
            source,
            min_disk_bytes: image.min_disk_bytes,
            has_agent: image.has_agent,
        };
        Ok(DeployRequest {
            image,
            hostname: self.hostname.map(|name| name.to_string()),
            ssh_keys: self.ssh_keys,
            user_data: self.user_data,
            network_data: self.network_data,
        })
    }
}

/// What the installed system could not make is refused before a disk is written for it.
fn check_network_data(data: &serde_json::Value) -> Result<(), ApiError> {
    let made = NetworkData::parse(data).and_then(|data| data.interfaces());
    made.map(drop).map_err(|error| ApiError::invalid(format_args!("network_data: {error}")))
}

/// The nodes: enrolment, requests and maintenance. A request may name an image.
///
/// Implemented by the binary.
pub trait NodesApi: ImagesApi {
    /// All nodes, ordered by name.
    fn nodes(&self) -> impl Future<Output = Result<Vec<NodeView>, ApiError>> + Send;

    /// One node. The count of its pending requests is read before the record: a request that is no
    /// longer pending has left its mark there, and who follows it sees no gap.
    fn node(&self, node: &NodeRef) -> impl Future<Output = Result<NodeView, ApiError>> + Send;

    /// Enrols machines, all or none. One that is known by name, BMC and interfaces is left as it
    /// is, so that an import can be repeated.
    fn enrol(
        &self,
        caller: &Caller,
        nodes: Vec<NewNode>,
    ) -> impl Future<Output = Result<Vec<EnrolOutcome>, ApiError>> + Send;

    /// Forgets a node that nothing is installed on. By `force`, also a machine of a cloud.
    fn forget(
        &self,
        caller: &Caller,
        node: NodeId,
        force: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Takes a request if the node's state allows it: the intent is durable when this returns, and
    /// the engine has been woken. What a cloud loses a machine by is taken by `force` alone.
    fn request(
        &self,
        caller: &Caller,
        node: NodeId,
        verb: Verb,
        force: bool,
    ) -> impl Future<Output = Result<Accepted, ApiError>> + Send;

    /// What an installed machine's agent needs to call here, with a new key in the place of the one that
    /// it has.
    fn renew_identity(
        &self,
        caller: &Caller,
        node: NodeId,
    ) -> impl Future<Output = Result<InstalledIdentity, ApiError>> + Send;

    /// Begins or ends a node's maintenance.
    fn maintain(
        &self,
        caller: &Caller,
        node: NodeId,
        maintenance: Option<Maintenance>,
    ) -> impl Future<Output = Result<NodeView, ApiError>> + Send;
}

pub(super) async fn list<A: NodesApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<NodeView>>, ApiError> {
    context.0.api.nodes().await.map(Json)
}

pub(super) async fn show<A: NodesApi>(
    State(context): State<Context<A>>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, ApiError> {
    context.0.api.node(&NodeRef::from(node.as_str())).await.map(Json)
}

pub(super) async fn enrol<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Vec<EnrolOutcome>>, ApiError> {
    let file = Instackenv::parse(&body::read(request.into_body()).await?)?;
    let nodes: Vec<NewNode> = file.try_into()?;
    context.0.api.enrol(&caller, nodes).await.map(Json)
}

pub(super) async fn remove<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    Query(query): Query<ForceQuery>,
) -> Result<StatusCode, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    api.forget(&caller, id, query.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn request<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    Query(query): Query<ForceQuery>,
    JsonBody(request): JsonBody<VerbRequest>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    let verb = match request {
        VerbRequest::Manage => Verb::Manage,
        VerbRequest::Inspect => Verb::Inspect,
        VerbRequest::Provide { all_disks } => {
            Verb::Provide { wipe: super::disks::scope(&**api, all_disks).await? }
        }
        VerbRequest::Undeploy => Verb::Undeploy,
        VerbRequest::Abort => Verb::Abort,
        VerbRequest::Power { action } => Verb::Power { action },
        VerbRequest::BootDevice { device, persistent } => Verb::BootDevice { device, persistent },
        VerbRequest::Deploy(order) => {
            let image = super::images::named(&**api, &order.image).await?;
            Verb::Deploy(Box::new(order.with(&image)?))
        }
    };
    let accepted = api.request(&caller, id, verb, query.force).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

pub(super) async fn identity<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
) -> Result<Json<InstalledIdentity>, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    api.renew_identity(&caller, id).await.map(Json)
}

pub(super) async fn maintenance<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<NodeView>, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    let maintenance = Maintenance { reason: request.reason };
    api.maintain(&caller, id, Some(maintenance)).await.map(Json)
}

pub(super) async fn end_maintenance<A: NodesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    api.maintain(&caller, id, None).await.map(Json)
}
