//! `GET /agent/v1/blobs/{digest}`: an image, streamed, to a machine that was told to write it.

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::HeaderMap;
use undercloud_image::blob::Blobs;
use undercloud_model::{Digest, ErrorKind};

use super::{AgentApi, CallingAgent, Context};
use crate::{ApiError, download};

pub(super) async fn fetch<A: AgentApi>(
    State(context): State<Context<A>>,
    State(blobs): State<Blobs>,
    caller: CallingAgent,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let digest: Digest = digest.parse().map_err(ApiError::invalid)?;
    if !context.0.api.may_fetch(caller, digest).await? {
        return Err(ApiError::new(
            ErrorKind::Denied,
            format!("{digest} is in no order of this node"),
        ));
    }
    download::blob(&blobs, &digest, &headers).await
}
