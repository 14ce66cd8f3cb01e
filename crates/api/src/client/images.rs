//! The client's questions about images: those of machines and those of containers.

use http::Method;
use undercloud_image::{catalog::Image, oci::ContainerImage};

use super::{Answer, Client};
use crate::{admin::Removed, escape::segment};

impl Client {
    /// All images.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn images(&self) -> Answer<Vec<Image>> {
        self.get("/v1/images").await
    }

    /// One image.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn image(&self, name: &str) -> Answer<Image> {
        self.get(&format!("/v1/images/{}", segment(name))).await
    }

    /// Registers an image whose blob is in the store.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn register(&self, image: &Image) -> Answer<()> {
        let path = format!("/v1/images/{}", segment(&image.name));
        self.nothing(Method::PUT, &path, Some(image)).await
    }

    /// Removes an image.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn unregister(&self, name: &str, force: bool) -> Answer<Removed> {
        let path = format!("/v1/images/{}?force={force}", segment(name));
        self.json(Method::DELETE, &path, None::<&()>).await
    }

    /// All container images.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn containers(&self) -> Answer<Vec<ContainerImage>> {
        self.get("/v1/containers").await
    }

    /// One container image.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn container(&self, name: &str) -> Answer<ContainerImage> {
        self.get(&format!("/v1/containers/{}", segment(name))).await
    }

    /// Registers container images whose blobs are in the store: all that there are.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn register_containers(&self, images: &[ContainerImage]) -> Answer<()> {
        self.nothing(Method::PUT, "/v1/containers", Some(&images)).await
    }
}
