//! `/v1/containers`: what container images there are. They are built by the command, which writes the
//! blobs itself; all of a build are registered here at once, in the place of what there was.

use std::collections::BTreeSet;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use http::StatusCode;
use undercloud_image::{
    blob::{BlobError, Blobs},
    oci::{ContainerImage, ImageName, Manifest, OciError},
};
use undercloud_model::{Caller, ErrorKind};

use super::Context;
use crate::{ApiError, body::JsonBody};

/// What container images there are.
///
/// Implemented by the binary.
pub trait ContainersApi: Send + Sync + 'static {
    /// All container images, ordered by name.
    fn containers(&self) -> impl Future<Output = Result<Vec<ContainerImage>, ApiError>> + Send;

    /// Makes these what there is of container images. Their blobs are there.
    fn register_containers(
        &self,
        caller: &Caller,
        images: Vec<ContainerImage>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
}

pub(super) async fn list<A: ContainersApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<ContainerImage>>, ApiError> {
    context.0.api.containers().await.map(Json)
}

pub(super) async fn show<A: ContainersApi>(
    State(context): State<Context<A>>,
    Path(name): Path<String>,
) -> Result<Json<ContainerImage>, ApiError> {
    let images = context.0.api.containers().await?;
    images.into_iter().find(|image| image.name == name).map(Json).ok_or_else(|| {
        ApiError::not_found(format!("there is no container image `{}`", name.escape_debug()))
            .hint("type `undercloud container list` to see which there are")
    })
}

pub(super) async fn register<A: ContainersApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    JsonBody(images): JsonBody<Vec<ContainerImage>>,
) -> Result<StatusCode, ApiError> {
    let blobs = context.0.blobs.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let mut names = BTreeSet::new();
        for image in &images {
            check(image, &blobs)?;
            if !names.insert(&image.name) {
                return Err(ApiError::invalid(format!("{} is there twice", image.name)));
            }
        }
        Ok(images)
    });
    let images = checked.await.map_err(|e| ApiError::new(ErrorKind::Bug, e))??;
    context.0.api.register_containers(&caller, images).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The image's blobs are there, and its manifest names them and no others.
fn check(image: &ContainerImage, blobs: &Blobs) -> Result<(), ApiError> {
    let invalid = |error: OciError| ApiError::invalid(error);
    let name: ImageName = image.name.parse().map_err(invalid)?;
    for piece in image.pieces() {
        match blobs.stat(&piece.digest)? {
            Some(size) if size == piece.size => {}
            Some(size) => {
                return Err(ApiError::invalid(format!(
                    "a blob of container image {name} has {size} bytes, not {}",
                    piece.size
                )));
            }
            None => return Err(BlobError::Missing(piece.digest).into()),
        }
    }
    let path = blobs.path(&image.manifest.digest);
    let bytes = std::fs::read(&path)
        .map_err(|e| ApiError::new(ErrorKind::Unavailable, format!("cannot read {path}: {e}")))?;
    let manifest = Manifest::parse(&bytes).map_err(invalid)?;
    if manifest.config != image.config || manifest.layers != image.layers {
        return Err(ApiError::invalid(format!(
            "{name}'s manifest names other blobs than its record"
        )));
    }
    Ok(())
}
