//! Version discovery. Both services answer 300 at their root, and clients go by the body.

use axum::{Json, response::IntoResponse};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::Origin;

/// Versions of Image v2 whose reading side this is, the newest first.
const IMAGE_VERSIONS: &[&str] =
    &["v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"];

fn v3(origin: &Origin) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{origin}/identity/v3/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}

pub(super) async fn identity(origin: Origin) -> impl IntoResponse {
    let location = format!("{origin}/identity/v3/");
    let body = json!({"versions": {"values": [v3(&origin)]}});
    (StatusCode::MULTIPLE_CHOICES, [(header::LOCATION, location)], Json(body))
}

pub(super) async fn identity_v3(origin: Origin) -> Json<Value> {
    Json(json!({"version": v3(&origin)}))
}

fn image_body(origin: &Origin) -> Value {
    let version = |(place, id): (usize, &&str)| {
        json!({
            "id": id,
            "status": if place == 0 { "CURRENT" } else { "SUPPORTED" },
            "links": [{"rel": "self", "href": format!("{origin}/image/v2/")}],
        })
    };
    json!({"versions": IMAGE_VERSIONS.iter().enumerate().map(version).collect::<Vec<_>>()})
}

pub(super) async fn image(origin: Origin) -> impl IntoResponse {
    (StatusCode::MULTIPLE_CHOICES, Json(image_body(&origin)))
}

pub(super) async fn image_versions(origin: Origin) -> Json<Value> {
    Json(image_body(&origin))
}
