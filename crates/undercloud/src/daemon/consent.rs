//! What a person is shown before disks of machines are erased that are not the lab's, and what is
//! written down when the person agrees.

use undercloud_api::{
    ApiError,
    admin::{ApprovalRequest, DisksView},
};
use undercloud_image::digest_of;
use undercloud_model::{
    Digest, ErrorKind, NodeId,
    consent::{DiskPlan, Fate, WipeScope, may_erase, outlook},
    inventory::Disk,
    node::Node,
};
use undercloud_store::{Agreement, Store};

use super::agents::api_error;
use crate::clock;

/// The disks of a node that was inspected, and what `wipe` would do to them.
///
/// # Errors
/// It was not inspected, or no disk can be chosen.
pub(super) async fn view(
    store: &Store,
    id: NodeId,
    wipe: &WipeScope,
) -> Result<DisksView, ApiError> {
    let node = store.node(id).await.map_err(api_error)?;
    let conflict = |message: String| ApiError::new(ErrorKind::Conflict, message);
    if node.inventory.is_none() {
        let message = format!("{} was not inspected: nobody knows its disks", node.name);
        return Err(conflict(message).hint(format!("undercloud node inspect {}", node.name)));
    }
    let disks = outlook(&node, wipe).map_err(|error| {
        conflict(format!("no disk of {} can be chosen: {error}", node.name))
            .hint("name one with `root_device` in the enrolment file, and import that again")
    })?;
    let is_own = store.is_own(&node).await.map_err(api_error)?;
    let needs_approval = needs_approval(store, &node, &disks).await?;
    let approvals = store.approvals(id).await.map_err(api_error)?;
    let digest = digest(&node, wipe, &disks)?;
    let name = node.name;
    Ok(DisksView { node: id, name, disks, digest, needs_approval, is_own, approvals })
}

/// Of what a person sees: another disk, other content or another fate is another digest.
fn digest(node: &Node, wipe: &WipeScope, disks: &[DiskPlan]) -> Result<Digest, ApiError> {
    let text = serde_json::to_vec(&(node.id, wipe, disks));
    Ok(digest_of(&text.map_err(|error| ApiError::new(ErrorKind::Bug, error))?))
}

/// Whether one of these is erased that nobody agreed to, of a machine that we did not make.
pub(super) async fn needs_approval(
    store: &Store,
    node: &Node,
    disks: &[DiskPlan],
) -> Result<bool, ApiError> {
    let erased = erased(disks);
    if erased.is_empty() || store.is_own(node).await.map_err(api_error)? {
        return Ok(false);
    }
    let approvals = store.approvals(node.id).await.map_err(api_error)?;
    Ok(erased.iter().any(|disk| may_erase(&approvals, disk).is_err()))
}

/// The disks that are erased.
pub(super) fn erased(disks: &[DiskPlan]) -> Vec<Disk> {
    let erased = disks.iter().filter(|plan| plan.fate == Fate::Erased);
    erased.map(|plan| plan.disk.clone()).collect()
}

/// Writes down that a person agrees to what is shown now, if that is what the person saw.
///
/// # Errors
/// It is not, or nothing would be erased.
pub(super) async fn approve(
    store: &Store,
    id: NodeId,
    wipe: &WipeScope,
    request: ApprovalRequest,
) -> Result<DisksView, ApiError> {
    let ApprovalRequest { digest, by } = request;
    let seen = view(store, id, wipe).await?;
    if seen.is_own {
        return Ok(seen);
    }
    let disks = erased(&seen.disks);
    if seen.digest != digest || disks.is_empty() {
        let what = if disks.is_empty() { "has no disk that would be erased" } else { "changed" };
        let message = format!("{} {what}", seen.name);
        return Err(ApiError::new(ErrorKind::Conflict, message)
            .hint(format!("look again: undercloud node disks {}", seen.name)));
    }
    let agreement = Agreement { node: id, disks, plan: digest, by };
    store.approve(&[agreement], clock::now_ms()).await.map_err(api_error)?;
    view(store, id, wipe).await
}
