//! What would happen to machines' disks, and who agreed to it.

use undercloud_api::{
    ApiError,
    admin::{ApprovalRequest, CloudApproval, DisksApi, DisksView},
};
use undercloud_model::{Caller, NodeId, NodeName, consent::WipeScope};

use super::Admin;
use crate::{
    clock,
    daemon::{agents::api_error, consent},
};

impl DisksApi for Admin {
    async fn disks(&self, node: NodeId, wipe: WipeScope) -> Result<DisksView, ApiError> {
        consent::view(&self.store, node, &wipe).await
    }

    async fn approve(
        &self,
        caller: &Caller,
        node: NodeId,
        wipe: WipeScope,
        request: ApprovalRequest,
    ) -> Result<DisksView, ApiError> {
        consent::approve(&self.store, caller, node, &wipe, request.digest).await
    }

    async fn withdraw(&self, caller: &Caller, node: NodeId) -> Result<(), ApiError> {
        self.store
            .asked_by(caller)
            .withdraw_approvals(node, clock::now_ms())
            .await
            .map_err(api_error)
    }

    async fn approve_cloud(
        &self,
        caller: &Caller,
        request: CloudApproval,
    ) -> Result<Vec<NodeName>, ApiError> {
        self.clouds.approve(caller, request, &self.site.nics()).await
    }
}
