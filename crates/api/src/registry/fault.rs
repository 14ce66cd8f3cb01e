//! Errors in the shape that registries' clients read (distribution specification, "Error Codes").

use std::fmt;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use undercloud_model::ErrorKind;

use crate::ApiError;

/// The specification's codes, those that pulling needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    /// None of the specification's: what other registries answer with a status of 500 and above.
    Unknown,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// An error of the registry.
#[derive(Debug)]
pub(super) struct Fault {
    code: Code,
    status: StatusCode,
    message: String,
}

impl Fault {
    pub(super) fn new(code: Code, status: StatusCode, message: impl fmt::Display) -> Self {
        Self { code, status, message: message.to_string() }
    }

    pub(super) fn not_found(code: Code, what: impl fmt::Display) -> Self {
        Self::new(code, StatusCode::NOT_FOUND, what)
    }

    /// No password or a wrong one: the same answer for both.
    pub(super) fn unauthenticated() -> Self {
        ApiError::unauthenticated().into()
    }

    pub(super) fn no_route() -> Self {
        Self::new(Code::Unsupported, StatusCode::NOT_FOUND, "there is no such route")
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        let status = error.status();
        let code = match error.kind {
            // Its record is there, so it is the blob that is not.
            ErrorKind::NotFound => Code::BlobUnknown,
            ErrorKind::Denied if status == StatusCode::UNAUTHORIZED => Code::Unauthorized,
            ErrorKind::Denied => Code::Denied,
            ErrorKind::Busy => Code::TooManyRequests,
            ErrorKind::Invalid => Code::Unsupported,
            ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Bug => Code::Unknown,
        };
        Self { code, status, message: error.message }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code.as_str(), "message": self.message});
        let mut response = (self.status, Json(json!({"errors": [error]}))).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Basic realm=\"undercloud\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
