//! Container images: those of the last build.

use undercloud_api::{ApiError, admin::ContainersApi};
use undercloud_image::oci::ContainerImage;

use super::Admin;
use crate::daemon::registry;

impl ContainersApi for Admin {
    async fn containers(&self) -> Result<Vec<ContainerImage>, ApiError> {
        registry::current(&self.store).await
    }

    async fn register_containers(&self, images: Vec<ContainerImage>) -> Result<(), ApiError> {
        registry::register(&self.store, &self.blobs, images).await
    }
}
