//! Request bodies: read whole, within a bound of size and time, and parsed as JSON. Errors say
//! where the text is wrong and never repeat it, since bodies carry secrets.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// Greatest request body of every route that takes JSON. An inventory of a machine with hundreds
/// of disks, or a report with its log, stays well below.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// A body that has not arrived by then is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of a request, at most [`BODY_BYTES_MAX`].
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::invalid(format!("the request is longer than {BODY_BYTES_MAX} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::invalid("the request ended before its body")),
        Err(_) => Err(ApiError::invalid("the request's body did not arrive in time")),
    }
}

/// Parses a body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is JSON, but not of the shape wanted here",
            _ => "is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        ApiError::invalid(format!("the text {what} (line {line}, column {column})"))
    })
}

/// A JSON body, whatever its content type is called.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        parse(&read(request.into_body()).await?).map(JsonBody)
    }
}
