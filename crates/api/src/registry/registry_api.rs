//! What the registry asks the rest of the daemon.

use std::future::Future;

use undercloud_image::oci::{ContainerImage, ImageName};
use undercloud_model::{NodeId, Secret};

use crate::ApiError;

/// Somebody who has proven who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Puller {
    /// The administrator, on this host.
    Administrator,
    /// A machine, by the key of its installed system.
    Machine(NodeId),
}

/// Knows who may pull what; implemented by the binary over the store.
pub trait RegistryApi: Send + Sync + 'static {
    /// Whose user and password these are, if anybody's now.
    fn authenticate(
        &self,
        user: &str,
        password: &Secret,
    ) -> impl Future<Output = Result<Option<Puller>, ApiError>> + Send;

    /// The names of all images that the puller may have.
    fn names(&self, puller: &Puller) -> impl Future<Output = Result<Vec<String>, ApiError>> + Send;

    /// The versions of an image that the puller may have, the current one first. None where there
    /// is no such image, or it is none of the puller's business.
    fn versions(
        &self,
        puller: &Puller,
        name: &ImageName,
    ) -> impl Future<Output = Result<Vec<ContainerImage>, ApiError>> + Send;
}
