//! Images: their rows, and their blobs.

use undercloud_api::{
    ApiError,
    admin::{ImagesApi, Removed},
};
use undercloud_image::catalog::Image;
use undercloud_model::Caller;

use super::Admin;
use crate::daemon::{agents::api_error, image_shelf};

impl ImagesApi for Admin {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let rows = self.store.images::<Image>().await.map_err(api_error)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }

    async fn register(&self, caller: &Caller, image: Image) -> Result<(), ApiError> {
        tracing::info!(%caller, image = image.name, "an image is registered");
        image_shelf::register(&self.store, &self.blobs, image).await?;
        self.site.images_changed().await;
        Ok(())
    }

    async fn unregister(
        &self,
        caller: &Caller,
        name: &str,
        force: bool,
    ) -> Result<Removed, ApiError> {
        tracing::info!(%caller, image = name, force, "an image is removed");
        image_shelf::remove(&self.store, &self.blobs, name, force).await
    }
}
