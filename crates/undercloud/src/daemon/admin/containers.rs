//! Container images: those of the last build.

use undercloud_api::{ApiError, admin::ContainersApi};
use undercloud_image::oci::ContainerImage;
use undercloud_model::Caller;

use super::Admin;
use crate::daemon::registry;

impl ContainersApi for Admin {
    async fn containers(&self) -> Result<Vec<ContainerImage>, ApiError> {
        registry::current(&self.store).await
    }

    async fn register_containers(
        &self,
        caller: &Caller,
        images: Vec<ContainerImage>,
    ) -> Result<(), ApiError> {
        tracing::info!(%caller, images = images.len(), "container images are registered");
        registry::register(&self.store, &self.blobs, images).await
    }
}
