//! A container registry, the side that pulls: what podman and skopeo fetch images with (OCI
//! distribution specification 1.1, the endpoints end-1, end-2, end-3 and end-8).
//!
//! ```text
//! GET, HEAD  /v2/                              whether one may come in
//!            /v2/<name>/manifests/<reference>  by tag or digest
//!            /v2/<name>/blobs/<digest>         whole or a range
//!            /v2/<name>/tags/list              and /v2/_catalog, in pages
//! ```
//! Every request carries user and password (RFC 7617); [`RegistryApi`] says whose they are. An image's blobs
//! are found under its name alone. Nothing is ever written through here.

mod fault;
mod path;
mod registry_api;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use undercloud_image::{
    blob::Blobs,
    oci::{ContainerImage, ImageName, MANIFEST_TYPE, Reference, TAG},
};
use undercloud_model::{Digest, Secret};

use self::{
    fault::{Code, Fault},
    path::Wanted,
};
use crate::{Clock, download, failures::Failures, serve::Peer};

pub use registry_api::{Puller, RegistryApi};

/// Refused passwords of one address in [`LOGIN_WINDOW_MS`] before the next must wait.
const LOGIN_FAILURES_MAX: u32 = 20;

const LOGIN_WINDOW_MS: i64 = 10_000;

/// Names in one answer, whatever the client asks for.
const PAGE_MAX: usize = 1000;

/// The routes, for the test that none is open.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v2"),
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/{name}/tags/list"),
    ("GET", "/v2/{name}/manifests/latest"),
    ("HEAD", "/v2/{name}/manifests/latest"),
    ("GET", "/v2/{name}/blobs/{digest}"),
    ("HEAD", "/v2/{name}/blobs/{digest}"),
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

/// The registry's routes, all below `/v2`; they can be merged with others.
pub fn router<A: RegistryApi>(api: A, blobs: Blobs, clock: Clock) -> Router {
    let refused = Failures::new(LOGIN_FAILURES_MAX, LOGIN_WINDOW_MS);
    let context = Context(Arc::new(Shared { api, blobs, clock, refused }));
    Router::new()
        .route("/v2", get(version::<A>).fallback(unsupported::<A>))
        .route("/v2/", get(version::<A>).fallback(unsupported::<A>))
        .route("/v2/{*path}", get(fetch::<A>).fallback(unsupported::<A>))
        .with_state(context)
}

/// `user:password` of the header `Authorization` (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let text = scheme.eq_ignore_ascii_case("Basic").then(|| STANDARD.decode(credentials.trim()))?;
    let text = String::from_utf8(text.ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

impl<A: RegistryApi> Context<A> {
    async fn authenticate(&self, peer: Peer, headers: &HeaderMap) -> Result<Puller, Fault> {
        let Self(shared) = self;
        let now = shared.clock.now();
        // Clients ask without a password first: that is no failure of anybody.
        let (user, password) = basic(headers).ok_or_else(Fault::unauthenticated)?;
        shared.refused.check(peer.address, now)?;
        let Some(puller) = shared.api.authenticate(&user, &password).await? else {
            tracing::warn!(peer = ?peer.address, "registry login refused");
            shared.refused.note(peer.address, now);
            return Err(Fault::unauthenticated());
        };
        Ok(puller)
    }
}

async fn version<A: RegistryApi>(
    State(context): State<Context<A>>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    context.authenticate(peer, &headers).await?;
    // What older clients tell a registry by.
    Ok(([("docker-distribution-api-version", "registry/2.0")], Json(json!({}))).into_response())
}

async fn unsupported<A: RegistryApi>(
    State(context): State<Context<A>>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    context.authenticate(peer, &headers).await?;
    let message =
        "images are pulled from here, not pushed; `undercloud container build` makes them";
    Err(Fault::new(Code::Unsupported, StatusCode::METHOD_NOT_ALLOWED, message))
}

async fn fetch<A: RegistryApi>(
    State(context): State<Context<A>>,
    peer: Peer,
    path: Result<Path<String>, PathRejection>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let puller = context.authenticate(peer, &headers).await?;
    let Path(path) = path.map_err(|_| Fault::no_route())?;
    let Shared { api, blobs, .. } = &*context.0;
    match Wanted::parse(&path)? {
        Wanted::Catalog => {
            let names = api.names(&puller).await?;
            let (names, link) = page.of(names, "/v2/_catalog")?;
            Ok((link, Json(json!({"repositories": names}))).into_response())
        }
        Wanted::Tags(name) => {
            versions(api, &puller, &name).await?;
            let (tags, link) = page.of(vec![TAG.to_owned()], &format!("/v2/{name}/tags/list"))?;
            Ok((link, Json(json!({"name": name.as_str(), "tags": tags}))).into_response())
        }
        Wanted::Manifest(name, reference) => {
            let found = versions(api, &puller, &name).await?;
            let image = found.into_iter().find(|image| match &reference {
                // The first is the current one.
                Reference::Tag(tag) => tag == TAG,
                Reference::Digest(digest) => *digest == image.manifest.digest,
            });
            let unknown = || {
                Fault::not_found(Code::ManifestUnknown, format!("image {name} has no such version"))
            };
            let image = image.ok_or_else(unknown)?;
            send(blobs, &image.manifest.digest, MANIFEST_TYPE, &headers).await
        }
        Wanted::Blob(name, digest) => {
            let found = versions(api, &puller, &name).await?;
            let is_there =
                found.iter().flat_map(ContainerImage::pieces).any(|p| p.digest == digest);
            if !is_there {
                return Err(Fault::not_found(
                    Code::BlobUnknown,
                    format!("image {name} has no such blob"),
                ));
            }
            send(blobs, &digest, "application/octet-stream", &headers).await
        }
    }
}

/// The versions of an image, the current one first; at least one.
async fn versions<A: RegistryApi>(
    api: &A,
    puller: &Puller,
    name: &ImageName,
) -> Result<Vec<ContainerImage>, Fault> {
    let found = api.versions(puller, name).await?;
    if found.is_empty() {
        return Err(Fault::not_found(
            Code::NameUnknown,
            format!("there is no container image {name}"),
        ));
    }
    Ok(found)
}

async fn send(
    blobs: &Blobs,
    digest: &Digest,
    kind: &'static str,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let mut response: Response<Body> = download::blob(blobs, digest, headers).await?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let digest = HeaderValue::from_str(&digest.to_string());
    headers.extend(digest.map(|digest| (header::HeaderName::from_static(CONTENT_DIGEST), digest)));
    Ok(response)
}

/// The digest of what is sent (distribution specification, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A page of a list: at most `n` of what comes after `last` ("Listing Tags").
#[derive(Debug, Default, Deserialize)]
struct Page {
    n: Option<String>,
    last: Option<String>,
}

impl Page {
    /// The page, and the header that leads to the next one.
    fn of(&self, mut all: Vec<String>, path: &str) -> Result<(Vec<String>, HeaderMap), Fault> {
        let n = self.n.as_deref().map_or(Ok(PAGE_MAX), str::parse::<usize>);
        let wrong =
            |_| Fault::new(Code::Unsupported, StatusCode::BAD_REQUEST, "n must be a number");
        let n = n.map_err(wrong)?.min(PAGE_MAX);
        all.sort();
        if let Some(last) = &self.last {
            all.retain(|name| name > last);
        }
        let more = all.len() > n;
        all.truncate(n);
        let mut headers = HeaderMap::new();
        if let (true, Some(last)) = (more, all.last()) {
            let link = format!("<{path}?n={n}&last={last}>; rel=\"next\"");
            headers.extend(HeaderValue::from_str(&link).map(|link| (header::LINK, link)));
        }
        Ok((all, headers))
    }
}

#[cfg(test)]
mod tests;
