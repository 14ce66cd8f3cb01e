//! What the real `openstack` client needs of an undercloud: Keystone v3 tokens and Glance v2's
//! reading side, on one loopback listener.
//!
//! ```text
//! /identity/v3/auth/tokens   one user, one project, one domain; opaque tokens, in memory
//! /image/v2/images           the images of this undercloud, read only
//! ```
//! The truth is OpenStack's API reference (api-ref, Identity v3 and Image v2) and what the client
//! sends. Links are built from the request's `Host`, as the originals do. What we do not serve is
//! answered as an OpenStack service answers an unknown route.

mod auth;
mod discovery;
mod fault;
mod image;
mod image_view;
mod tokens;

use std::{fmt, future::Future, sync::Arc};

use axum::{
    Router,
    extract::FromRequestParts,
    routing::{get, post},
};
use http::{HeaderMap, header, request::Parts, uri::Authority};
use sha2::{Digest as _, Sha256};
use undercloud_image::{blob::Blobs, catalog::Image};
use undercloud_model::Secret;

use self::{
    fault::{Fault, Service},
    tokens::{Token, Tokens},
};
use crate::{ApiError, Clock, failures::Failures};

/// The user, its project, and the project's role.
pub const USER_NAME: &str = "admin";
/// The project.
pub const PROJECT_NAME: &str = "admin";
/// The domain of both.
pub const DOMAIN_NAME: &str = "Default";
/// The domain's id.
pub const DOMAIN_ID: &str = "default";
/// The region of the endpoints.
pub const REGION: &str = "RegionOne";

/// Refused logins in [`LOGIN_WINDOW_MS`] before the next must wait.
const LOGIN_FAILURES_MAX: u32 = 20;

const LOGIN_WINDOW_MS: i64 = 10_000;

/// The routes that need a token, for the test that none is open.
pub const TOKEN_ROUTES: &[(&str, &str)] = &[
    ("GET", "/identity/v3/auth/tokens"),
    ("HEAD", "/identity/v3/auth/tokens"),
    ("DELETE", "/identity/v3/auth/tokens"),
    ("GET", "/identity/v3/auth/catalog"),
    ("GET", "/image/v2/images"),
    ("GET", "/image/v2/images/{image}"),
    ("GET", "/image/v2/images/{image}/file"),
    ("GET", "/image/v2/schemas/image"),
    ("GET", "/image/v2/schemas/images"),
];

/// Knows the images; implemented by the binary over the store.
pub trait ImageShelf: Send + Sync + 'static {
    /// All images, ordered by name.
    fn images(&self) -> impl Future<Output = Result<Vec<Image>, ApiError>> + Send;
}

struct Cloud<S> {
    shelf: Arc<S>,
    blobs: Blobs,
    password: Secret,
    clock: Clock,
    tokens: Tokens,
    refused: Failures,
}

/// What handlers share.
struct Context<S>(Arc<Cloud<S>>);

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The routes of both services. `password` is the one user's: generated, 128 bits.
pub fn router<S: ImageShelf>(
    shelf: Arc<S>,
    blobs: Blobs,
    password: Secret,
    clock: Clock,
) -> Router {
    let (tokens, refused) = (Tokens::default(), Failures::new(LOGIN_FAILURES_MAX, LOGIN_WINDOW_MS));
    let context = Context(Arc::new(Cloud { shelf, blobs, password, clock, tokens, refused }));
    let identity = Router::new()
        .route("/identity", get(discovery::identity))
        .route("/identity/", get(discovery::identity))
        .route("/identity/v3", get(discovery::identity_v3))
        .route("/identity/v3/", get(discovery::identity_v3))
        .route(
            "/identity/v3/auth/tokens",
            post(auth::issue::<S>).get(auth::validate::<S>).delete(auth::revoke::<S>),
        )
        .route("/identity/v3/auth/catalog", get(auth::catalog::<S>));
    let image = Router::new()
        .route("/image", get(discovery::image))
        .route("/image/", get(discovery::image))
        .route("/image/versions", get(discovery::image_versions))
        .route("/image/v2/images", get(image::list::<S>))
        .route("/image/v2/images/{image}", get(image::show::<S>))
        .route("/image/v2/images/{image}/file", get(image::download::<S>))
        .route("/image/v2/schemas/image", get(image::image_schema::<S>))
        .route("/image/v2/schemas/images", get(image::images_schema::<S>));
    identity.merge(image).fallback(fault::no_route).with_state(context)
}

impl<S> Cloud<S> {
    /// Whose token came with the request.
    fn authorize(&self, headers: &HeaderMap) -> Option<Token> {
        let token = headers.get("x-auth-token")?.to_str().ok()?;
        self.tokens.find(token, self.clock.now())
    }
}

/// The request's `Host`, with the scheme: what links begin with.
#[derive(Debug, Clone)]
struct Origin(String);

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let host = parts.headers.get(header::HOST).and_then(|v| v.to_str().ok());
        let host = host.filter(|h| !h.contains('@')).and_then(|h| h.parse::<Authority>().ok());
        let host = host.ok_or_else(|| {
            Fault::new(
                Service::of(parts.uri.path()),
                ApiError::invalid("The Host header is wrong."),
            )
        })?;
        Ok(Self(format!("https://{host}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id in Keystone's shape, 32 hex digits, that is the same on every start.
fn fixed_id(of: &str) -> String {
    hex::encode(&Sha256::digest(of)[..16])
}

#[cfg(test)]
mod tests;
