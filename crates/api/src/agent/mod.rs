//! The agents' side of the daemon: `model::agent`'s protocol over TLS.
//!
//! Every route but `hello` wants a bearer key; [`AgentApi`] says whose it is. A blob is given only to a
//! machine whose current order names it.

mod agent_api;
mod blobs;
mod hello;
mod work;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, FromRequestParts},
    routing::{get, post},
};
use http::{header, request::Parts};
use serde::Deserialize;
use undercloud_image::blob::Blobs;
use undercloud_model::{Secret, agent::PROTOCOL};

use crate::{ApiError, Clock, failures::Failures, serve::Peer};

pub use agent_api::{AgentApi, CallingAgent, Session};

/// Refused hellos of one address in [`HELLO_WINDOW_MS`] before it must wait.
const HELLO_FAILURES_MAX: u32 = 10;

const HELLO_WINDOW_MS: i64 = 60_000;

/// The routes, for the test that no one is open.
pub const ROUTES: &[(&str, &str)] = &[
    ("POST", "/agent/v1/hello"),
    ("POST", "/agent/v1/poll"),
    ("POST", "/agent/v1/progress"),
    ("POST", "/agent/v1/report"),
    ("GET", "/agent/v1/blobs/{digest}"),
];

struct Shared<A> {
    api: A,
    blobs: Blobs,
    clock: Clock,
    refused: Failures,
}

/// What handlers share.
struct Context<A>(Arc<Shared<A>>);

impl<A> Clone for Context<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The agents' routes.
pub fn router<A: AgentApi>(api: A, blobs: Blobs, clock: Clock) -> Router {
    let refused = Failures::new(HELLO_FAILURES_MAX, HELLO_WINDOW_MS);
    let context = Context(Arc::new(Shared { api, blobs, clock, refused }));
    Router::new()
        .route("/agent/v1/hello", post(hello::hello::<A>))
        .route("/agent/v1/poll", post(work::poll::<A>))
        .route("/agent/v1/progress", post(work::progress::<A>))
        .route("/agent/v1/report", post(work::report::<A>))
        .route("/agent/v1/blobs/{digest}", get(blobs::fetch::<A>))
        .fallback(async || ApiError::not_found("there is no such route"))
        .with_state(context)
}

impl<A: AgentApi> FromRef<Context<A>> for Blobs {
    fn from_ref(context: &Context<A>) -> Self {
        context.0.blobs.clone()
    }
}

impl<A: AgentApi> FromRequestParts<Context<A>> for CallingAgent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context<A>) -> Result<Self, ApiError> {
        let key = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let key =
            key.and_then(|v| v.strip_prefix("Bearer ")).ok_or_else(ApiError::unauthenticated)?;
        let key = Secret::new(key.trim());
        context.0.api.authenticate(&key).await?.ok_or_else(ApiError::unauthenticated)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self { address: None, process: None }))
    }
}

/// What every version of the protocol sends.
#[derive(Deserialize)]
struct AnyVersion {
    protocol: u32,
}

/// Refuses a version of the protocol that is not understood, and says what to do.
fn understood(theirs: u32) -> Result<(), ApiError> {
    if PROTOCOL.understands(theirs) {
        return Ok(());
    }
    let hint = if theirs < PROTOCOL.min {
        "build the images again with this version (`undercloud image build`) and deploy the \
         machine anew"
    } else {
        "the machine was booted by a newer version: upgrade this daemon to it"
    };
    Err(ApiError::invalid(format!(
        "the agent speaks version {theirs} of the protocol, this daemon {PROTOCOL}"
    ))
    .hint(hint))
}

#[cfg(test)]
mod tests;
