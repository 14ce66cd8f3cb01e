//! `/v2/images` (api-ref, Image v2): list, show and download.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::Response,
};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use undercloud_image::catalog::Image;

use super::{
    Cloud, Context, Fault, ImageShelf, Service,
    image_view::{self, id_of},
};
use crate::{ApiError, download, escape};

/// Images in one answer, if the client does not say.
const LIMIT_DEFAULT: usize = 25;

const LIMIT_MAX: usize = 1000;

/// The parameters that we act on; others, as Glance's sorting, change nothing here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    name: Option<String>,
    status: Option<String>,
    visibility: Option<String>,
    disk_format: Option<String>,
    container_format: Option<String>,
    owner: Option<String>,
    os_hidden: Option<String>,
    limit: Option<String>,
    marker: Option<String>,
}

fn fault(error: ApiError) -> Fault {
    Fault::new(Service::Image, error)
}

fn authorize<S>(cloud: &Cloud<S>, headers: &HeaderMap) -> Result<(), Fault> {
    match cloud.authorize(headers) {
        Some(_) => Ok(()),
        None => Err(Fault::unauthenticated(Service::Image)),
    }
}

impl Asked {
    fn wants(&self, view: &Value) -> bool {
        let filters = [
            ("name", &self.name),
            ("status", &self.status),
            ("visibility", &self.visibility),
            ("disk_format", &self.disk_format),
            ("container_format", &self.container_format),
            ("owner", &self.owner),
        ];
        let mut given = filters.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        // `all` is a word of this filter alone (api-ref, "List images", visibility).
        given.all(|(key, value)| view[key] == value.as_str() || key == "visibility" && value == "all")
            // None of our images is hidden.
            && !self.os_hidden.as_deref().is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    fn limit(&self) -> Result<usize, Fault> {
        match self.limit.as_deref().map(str::parse::<usize>) {
            None => Ok(LIMIT_DEFAULT),
            Some(Ok(limit)) => Ok(limit.min(LIMIT_MAX)),
            Some(Err(_)) => Err(fault(ApiError::invalid("limit param must be an integer"))),
        }
    }

    /// The parameters again, but for the marker.
    fn next(&self, marker: &str) -> String {
        let pairs = [
            ("name", &self.name),
            ("status", &self.status),
            ("visibility", &self.visibility),
            ("disk_format", &self.disk_format),
            ("container_format", &self.container_format),
            ("owner", &self.owner),
            ("limit", &self.limit),
        ];
        let given = pairs.iter().filter_map(|(k, v)| Some((*k, v.as_ref()?)));
        let given = given.map(|(k, v)| format!("{k}={}&", escape::segment(v)));
        format!("/v2/images?{}marker={marker}", given.collect::<String>())
    }
}

pub(super) async fn list<S: ImageShelf>(
    State(context): State<Context<S>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    authorize(&context.0, &headers)?;
    let limit = asked.limit()?;
    let images = context.0.shelf.images().await.map_err(fault)?;
    let views: Vec<Value> = images.iter().map(image_view::view).collect();
    let first = match &asked.marker {
        None => 0,
        Some(marker) => {
            let place = views.iter().position(|v| v["id"] == marker.as_str());
            let unknown = || ApiError::invalid(format!("No image found with ID {marker}"));
            place.ok_or_else(|| fault(unknown()))? + 1
        }
    };
    let mut wanted: Vec<Value> =
        views.into_iter().skip(first).filter(|view| asked.wants(view)).collect();
    let more = wanted.len() > limit;
    wanted.truncate(limit);
    let mut body = json!({"first": "/v2/images", "schema": "/v2/schemas/images"});
    if let (true, Some(last)) = (more, wanted.last()) {
        body["next"] = asked.next(last["id"].as_str().unwrap_or_default()).into();
    }
    body["images"] = wanted.into();
    Ok(Json(body))
}

/// Anything that is no id of an image is not found: the client tries names first.
async fn find<S: ImageShelf>(cloud: &Cloud<S>, id: &str) -> Result<Image, Fault> {
    let images = cloud.shelf.images().await.map_err(fault)?;
    let found = images.into_iter().find(|image| id_of(image) == id);
    found.ok_or_else(|| fault(ApiError::not_found(format!("No image found with ID {id}"))))
}

pub(super) async fn show<S: ImageShelf>(
    State(context): State<Context<S>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    authorize(&context.0, &headers)?;
    let image = find(&context.0, &id).await?;
    Ok(Json(image_view::view(&image)))
}

pub(super) async fn download<S: ImageShelf>(
    State(context): State<Context<S>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    authorize(&context.0, &headers)?;
    let image = find(&context.0, &id).await?;
    download::blob(&context.0.blobs, &image.digest, &headers).await.map_err(fault)
}

pub(super) async fn image_schema<S: ImageShelf>(
    State(context): State<Context<S>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    authorize(&context.0, &headers)?;
    Ok(Json(image_view::image_schema()))
}

pub(super) async fn images_schema<S: ImageShelf>(
    State(context): State<Context<S>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    authorize(&context.0, &headers)?;
    Ok(Json(image_view::images_schema()))
}
