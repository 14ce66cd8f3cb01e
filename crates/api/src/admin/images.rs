//! `/v1/images`: what images there are. They are built and imported by the command, which writes
//! the blob itself; what it made is registered here.

use std::future::Future;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use undercloud_image::{
    blob::{BlobError, Blobs},
    catalog::{Image, check_name, names},
};
use undercloud_model::{Caller, ErrorKind, NodeName};

use super::{Context, ForceQuery};
use crate::{ApiError, body::JsonBody};

/// An image is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Which.
    pub name: String,
    /// What that freed; nothing while something else needs the blob.
    pub freed_bytes: u64,
    /// The nodes that need it still: it is being written to them, or is installed there.
    #[serde(default)]
    pub needed_by: Vec<NodeName>,
}

/// What images there are.
///
/// Implemented by the binary.
pub trait ImagesApi: Send + Sync + 'static {
    /// All images, ordered by name.
    fn images(&self) -> impl Future<Output = Result<Vec<Image>, ApiError>> + Send;

    /// Takes an image, in the place of one of the same name. Its blob is there.
    fn register(
        &self,
        caller: &Caller,
        image: Image,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Removes an image, and its blob if nothing else needs it. By `force`, also one that nodes have.
    fn unregister(
        &self,
        caller: &Caller,
        name: &str,
        force: bool,
    ) -> impl Future<Output = Result<Removed, ApiError>> + Send;
}

/// The image of this name.
pub(super) async fn named(api: &impl ImagesApi, name: &str) -> Result<Image, ApiError> {
    let images = api.images().await?;
    images.into_iter().find(|image| image.name == name).ok_or_else(|| {
        ApiError::not_found(format!("there is no image `{}`", name.escape_debug()))
            .hint("type `undercloud image list` to see which there are")
    })
}

pub(super) async fn list<A: ImagesApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<Image>>, ApiError> {
    context.0.api.images().await.map(Json)
}

pub(super) async fn show<A: ImagesApi>(
    State(context): State<Context<A>>,
    Path(name): Path<String>,
) -> Result<Json<Image>, ApiError> {
    named(&*context.0.api, &name).await.map(Json)
}

pub(super) async fn register<A: ImagesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    JsonBody(image): JsonBody<Image>,
) -> Result<StatusCode, ApiError> {
    check(&name, &image)?;
    blob_is_there(context.0.blobs.clone(), &image).await?;
    context.0.api.register(&caller, image).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove<A: ImagesApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<ForceQuery>,
) -> Result<Json<Removed>, ApiError> {
    named(&*context.0.api, &name).await?;
    context.0.api.unregister(&caller, &name, query.force).await.map(Json)
}

fn check(name: &str, image: &Image) -> Result<(), ApiError> {
    if name != image.name {
        return Err(ApiError::invalid("the image's name differs from the one in the path"));
    }
    check_name(name).map_err(ApiError::invalid)?;
    match names::kind_of(name) {
        Some(kind) if kind != image.kind => Err(ApiError::invalid(format!(
            "{name} is the name of a {kind} of ours, and this is a {}",
            image.kind
        ))
        .hint("give it another --name")),
        _ => Ok(()),
    }
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
