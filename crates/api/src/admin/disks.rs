//! `/v1/nodes/{node}/disks` and `…/approval`, `/v1/cloud/approval`: what would happen to machines'
//! disks, and a person's word that it may.

use std::future::Future;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_image::catalog::{Image, names};
use undercloud_model::{
    Caller, Digest, NodeId, NodeName,
    consent::{Approval, DiskPlan, WipeScope},
};

use super::{Context, ImagesApi, NodeRef, NodesApi};
use crate::{ApiError, body::JsonBody};

/// A machine's disks, and what would happen to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisksView {
    /// Whose.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// All of them, with what is on them.
    pub disks: Vec<DiskPlan>,
    /// Digest of that; what an approval names.
    pub digest: Digest,
    /// Whether nobody agreed yet, and somebody has to.
    pub needs_approval: bool,
    /// Whether the undercloud made the machine itself: then nobody has to.
    pub is_own: bool,
    /// What was agreed to.
    pub approvals: Vec<Approval>,
}

/// What is asked about disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisksQuery {
    /// What if all were erased, and not the one for the system alone?
    pub all: bool,
}

/// A person agrees to what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Digest of it.
    pub digest: Digest,
}

/// A person agrees to what a plan does to disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudApproval {
    /// The text of `cloud.toml`.
    pub description: String,
    /// Digest of the plan that the person saw.
    pub digest: Digest,
}

/// What the system needs of a disk, where nobody named an image: what the usual one does.
pub fn system_need_bytes(images: &[Image]) -> u64 {
    let usual = images.iter().find(|image| image.name == names::OVERCLOUD_FULL);
    usual.map_or(0, |image| image.min_disk_bytes.max(image.content.size))
}

/// What would happen to machines' disks, and a person's word that it may. A disk is a node's, and
/// which one is chosen goes by the image.
///
/// Implemented by the binary.
pub trait DisksApi: NodesApi + ImagesApi {
    /// What would happen to a node's disks.
    fn disks(
        &self,
        node: NodeId,
        wipe: WipeScope,
    ) -> impl Future<Output = Result<DisksView, ApiError>> + Send;

    /// Writes down that somebody agreed to what [`DisksApi::disks`] says now, if it is what the
    /// request names.
    fn approve(
        &self,
        caller: &Caller,
        node: NodeId,
        wipe: WipeScope,
        request: ApprovalRequest,
    ) -> impl Future<Output = Result<DisksView, ApiError>> + Send;

    /// Takes back what was agreed to for a node.
    fn withdraw(
        &self,
        caller: &Caller,
        node: NodeId,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Writes down that somebody agreed to what the plan does to disks, if it is still that plan;
    /// says of which machines.
    fn approve_cloud(
        &self,
        caller: &Caller,
        request: CloudApproval,
    ) -> impl Future<Output = Result<Vec<NodeName>, ApiError>> + Send;
}

/// Which disks a cleaning erases, where nobody named an image.
pub(super) async fn scope(api: &impl ImagesApi, all: bool) -> Result<WipeScope, ApiError> {
    if all {
        return Ok(WipeScope::All);
    }
    Ok(WipeScope::Root { need_bytes: system_need_bytes(&api.images().await?) })
}

pub(super) async fn show<A: DisksApi>(
    State(context): State<Context<A>>,
    Path(node): Path<String>,
    Query(query): Query<DisksQuery>,
) -> Result<Json<DisksView>, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    let scope = scope(&**api, query.all).await?;
    api.disks(id, scope).await.map(Json)
}

pub(super) async fn approve<A: DisksApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    JsonBody(request): JsonBody<ApprovalRequest>,
) -> Result<Json<DisksView>, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    // What was shown was one of these two.
    for all in [false, true] {
        let scope = scope(&**api, all).await?;
        // Without a disk for the system there is nothing to compare, but all may be erased.
        match api.disks(id, scope.clone()).await {
            Ok(view) if view.digest == request.digest => {
                return api.approve(&caller, id, scope, request).await.map(Json);
            }
            Err(error) if all => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    let digest = request.digest;
    let message = format!("the disks of {node} are not (any more) as they were in {digest}");
    let hint = format!("look again: undercloud node disks {node}");
    Err(ApiError::new(undercloud_model::ErrorKind::Conflict, message).hint(hint))
}

pub(super) async fn withdraw<A: DisksApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
) -> Result<StatusCode, ApiError> {
    let api = &context.0.api;
    let id = api.node(&NodeRef::from(node.as_str())).await?.node.id;
    api.withdraw(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn approve_cloud<A: DisksApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    JsonBody(request): JsonBody<CloudApproval>,
) -> Result<Json<Vec<NodeName>>, ApiError> {
    context.0.api.approve_cloud(&caller, request).await.map(Json)
}
