//! `/v1/containers`: what container images there are. They are built by the command, which writes the
//! blobs itself; all of a build are registered here at once, in the place of what there was.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use undercloud_image::{
    blob::{BlobError, Blobs},
    oci::{ContainerImage, ImageName, Manifest, OciError},
};
use undercloud_model::ErrorKind;

use super::{AdminDesk, Office};
use crate::{ApiError, body::JsonBody};

pub(super) async fn list<D: AdminDesk>(
    State(office): State<Office<D>>,
) -> Result<Json<Vec<ContainerImage>>, ApiError> {
    office.0.desk.containers().await.map(Json)
}

pub(super) async fn show<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(name): Path<String>,
) -> Result<Json<ContainerImage>, ApiError> {
    let images = office.0.desk.containers().await?;
    images.into_iter().find(|image| image.name == name).map(Json).ok_or_else(|| {
        ApiError::not_found(format!("there is no container image `{}`", name.escape_debug()))
            .hint("type `undercloud container list` to see which there are")
    })
}

pub(super) async fn register<D: AdminDesk>(
    State(office): State<Office<D>>,
    JsonBody(images): JsonBody<Vec<ContainerImage>>,
) -> Result<StatusCode, ApiError> {
    let blobs = office.0.blobs.clone();
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
    office.0.desk.register_containers(images).await?;
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
