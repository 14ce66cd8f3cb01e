//! `/v1/images`: what images there are. They are built and imported by the command, which writes
//! the blob itself; what it made is registered here.

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_image::{
    blob::{BlobError, Blobs},
    catalog::Image,
};
use undercloud_model::ErrorKind;

use super::{AdminDesk, Office};
use crate::{ApiError, body::JsonBody};

/// Longest name of an image.
const NAME_BYTES_MAX: usize = 128;

/// An image is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Which.
    pub name: String,
    /// What that freed; nothing when another image has the same blob.
    pub freed_bytes: u64,
}

/// The image of this name.
pub(super) async fn named(desk: &impl AdminDesk, name: &str) -> Result<Image, ApiError> {
    let images = desk.images().await?;
    images.into_iter().find(|image| image.name == name).ok_or_else(|| {
        ApiError::not_found(format!("there is no image `{}`", name.escape_debug()))
            .hint("type `undercloud image list` to see which there are")
    })
}

pub(super) async fn list<D: AdminDesk>(
    State(office): State<Office<D>>,
) -> Result<Json<Vec<Image>>, ApiError> {
    office.0.desk.images().await.map(Json)
}

pub(super) async fn show<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(name): Path<String>,
) -> Result<Json<Image>, ApiError> {
    named(&*office.0.desk, &name).await.map(Json)
}

pub(super) async fn register<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(name): Path<String>,
    JsonBody(image): JsonBody<Image>,
) -> Result<StatusCode, ApiError> {
    check(&name, &image)?;
    blob_is_there(office.0.blobs.clone(), &image).await?;
    office.0.desk.register(image).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(name): Path<String>,
) -> Result<Json<Removed>, ApiError> {
    named(&*office.0.desk, &name).await?;
    office.0.desk.unregister(&name).await.map(Json)
}

fn check(name: &str, image: &Image) -> Result<(), ApiError> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if name != image.name {
        return Err(ApiError::invalid("the image's name differs from the one in the path"));
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(legal) {
        return Err(ApiError::invalid(format!("`{}` is no image name", name.escape_debug()))
            .hint("use letters, digits, `.`, `_` and `-`"));
    }
    Ok(())
}

async fn blob_is_there(blobs: Blobs, image: &Image) -> Result<(), ApiError> {
    let digest = image.digest;
    let found = tokio::task::spawn_blocking(move || blobs.stat(&digest)).await;
    let found = found.map_err(|e| ApiError::new(ErrorKind::Bug, e))??;
    match found {
        Some(size) if size == image.size => Ok(()),
        Some(size) => Err(ApiError::invalid(format!(
            "the blob of image {} has {size} bytes, not {}",
            image.name, image.size
        ))),
        None => Err(BlobError::Missing(digest).into()),
    }
}
