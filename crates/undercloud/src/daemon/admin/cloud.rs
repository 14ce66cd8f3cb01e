//! The cloud: its plan, its deployments, the way in.

use serde_json::Value;
use undercloud_api::{
    ApiError,
    admin::{CloudAccess, CloudApi, CloudRequest, DeploymentView, PlanView},
};
use undercloud_model::Caller;

use super::Admin;

impl CloudApi for Admin {
    async fn cloud_plan(&self, request: CloudRequest) -> Result<PlanView, ApiError> {
        self.clouds.plan(&request, &self.site.nics()).await
    }

    async fn deployments(&self) -> Result<Vec<DeploymentView>, ApiError> {
        self.clouds.deployments().await
    }

    async fn deployment(&self, number: i64) -> Result<DeploymentView, ApiError> {
        self.clouds.deployment(number).await
    }

    async fn set_verification(
        &self,
        caller: &Caller,
        number: i64,
        report: Value,
    ) -> Result<(), ApiError> {
        tracing::info!(%caller, number, "a verification is kept");
        self.clouds.set_verification(number, report).await
    }

    async fn cloud_access(&self) -> Result<CloudAccess, ApiError> {
        self.clouds.access().await
    }
}
