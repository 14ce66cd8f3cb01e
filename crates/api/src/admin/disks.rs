//! `/v1/nodes/{node}/disks` and `…/approval`, `/v1/cloud/approval`: what would happen to machines'
//! disks, and a person's word that it may.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_image::catalog::{Image, names};
use undercloud_model::{
    Digest, NodeId, NodeName,
    consent::{Approval, DiskPlan, WipeScope},
};

use super::{AdminDesk, NodeRef, Office};
use crate::{ApiError, body::JsonBody};

/// Longest name of who agrees.
const BY_BYTES_MAX: usize = 80;

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
    /// Who agrees.
    pub by: String,
}

/// A person agrees to what a plan does to disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudApproval {
    /// The text of `cloud.toml`.
    pub description: String,
    /// Digest of the plan that the person saw.
    pub digest: Digest,
    /// Who agrees.
    pub by: String,
}

fn check_name(by: &str) -> Result<(), ApiError> {
    if !(1..=BY_BYTES_MAX).contains(&by.len()) || by.chars().any(char::is_control) {
        let message = "`by` is no name: give one of 1 to 80 bytes, without control characters";
        return Err(ApiError::invalid(message));
    }
    Ok(())
}

/// What the system needs of a disk, where nobody named an image: what the usual one does.
pub fn system_need_bytes(images: &[Image]) -> u64 {
    let usual = images.iter().find(|image| image.name == names::OVERCLOUD_FULL);
    usual.map_or(0, |image| image.min_disk_bytes.max(image.content.size))
}

/// Which disks a cleaning erases, where nobody named an image.
pub(super) async fn scope(desk: &impl AdminDesk, all: bool) -> Result<WipeScope, ApiError> {
    if all {
        return Ok(WipeScope::All);
    }
    Ok(WipeScope::Root { need_bytes: system_need_bytes(&desk.images().await?) })
}

pub(super) async fn show<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(node): Path<String>,
    Query(query): Query<DisksQuery>,
) -> Result<Json<DisksView>, ApiError> {
    let desk = &office.0.desk;
    let id = desk.node(&NodeRef::from(node.as_str())).await?.node.id;
    let scope = scope(&**desk, query.all).await?;
    desk.disks(id, scope).await.map(Json)
}

pub(super) async fn approve<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(node): Path<String>,
    JsonBody(request): JsonBody<ApprovalRequest>,
) -> Result<Json<DisksView>, ApiError> {
    let desk = &office.0.desk;
    let id = desk.node(&NodeRef::from(node.as_str())).await?.node.id;
    check_name(&request.by)?;
    // What was shown was one of these two.
    for all in [false, true] {
        let scope = scope(&**desk, all).await?;
        // Without a disk for the system there is nothing to compare, but all may be erased.
        match desk.disks(id, scope.clone()).await {
            Ok(view) if view.digest == request.digest => {
                return desk.approve(id, scope, request).await.map(Json);
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

pub(super) async fn withdraw<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(node): Path<String>,
) -> Result<StatusCode, ApiError> {
    let desk = &office.0.desk;
    let id = desk.node(&NodeRef::from(node.as_str())).await?.node.id;
    desk.withdraw(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn approve_cloud<D: AdminDesk>(
    State(office): State<Office<D>>,
    JsonBody(request): JsonBody<CloudApproval>,
) -> Result<Json<Vec<NodeName>>, ApiError> {
    check_name(&request.by)?;
    office.0.desk.approve_cloud(request).await.map(Json)
}
