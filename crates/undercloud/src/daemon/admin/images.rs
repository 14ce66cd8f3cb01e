//! Images: their rows, and their blobs.

use undercloud_api::{
    ApiError,
    admin::{ImagesApi, Removed},
};
use undercloud_image::catalog::Image;

use super::Admin;
use crate::daemon::{agents::api_error, image_shelf};

impl ImagesApi for Admin {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let rows = self.store.images::<Image>().await.map_err(api_error)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }

    async fn register(&self, image: Image) -> Result<(), ApiError> {
        image_shelf::register(&self.store, &self.blobs, image).await?;
        self.site.images_changed().await;
        Ok(())
    }

    async fn unregister(&self, name: &str, force: bool) -> Result<Removed, ApiError> {
        image_shelf::remove(&self.store, &self.blobs, name, force).await
    }
}
