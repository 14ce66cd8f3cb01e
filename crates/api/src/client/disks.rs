//! The client's questions about machines' disks, and a person's word for them.

use http::Method;
use undercloud_model::NodeName;

use super::{Answer, Client};
use crate::{
    admin::{ApprovalRequest, CloudApproval, DisksView},
    escape::segment,
};

impl Client {
    /// A machine's disks, and what would happen to them; to `all` of them, or for a system.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn disks(&self, node: &str, all: bool) -> Answer<DisksView> {
        self.get(&format!("/v1/nodes/{}/disks?all={all}", segment(node))).await
    }

    /// Agrees to what was shown.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn approve(&self, node: &str, request: &ApprovalRequest) -> Answer<DisksView> {
        let path = format!("/v1/nodes/{}/approval", segment(node));
        self.json(Method::PUT, &path, Some(request)).await
    }

    /// Takes back what was agreed to.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn withdraw_approval(&self, node: &str) -> Answer<()> {
        let path = format!("/v1/nodes/{}/approval", segment(node));
        self.nothing(Method::DELETE, &path, None::<&()>).await
    }

    /// Agrees to what a plan does to disks; says of which machines.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn approve_cloud(&self, request: &CloudApproval) -> Answer<Vec<NodeName>> {
        self.json(Method::POST, "/v1/cloud/approval", Some(request)).await
    }
}
