//! Errors in the shapes that OpenStack's clients read: Keystone's JSON, Glance's HTML.

use axum::{
    Json,
    extract::Request,
    response::{Html, IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::ApiError;

/// Which service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Identity,
    Image,
}

impl Service {
    /// Whose route this is.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/image") { Self::Image } else { Self::Identity }
    }
}

/// An error of a service.
#[derive(Debug)]
pub(super) struct Fault {
    service: Service,
    error: ApiError,
}

impl Fault {
    pub(super) fn new(service: Service, error: ApiError) -> Self {
        Self { service, error }
    }

    /// No token, a wrong one, or a wrong password: the same answer for all.
    pub(super) fn unauthenticated(service: Service) -> Self {
        let mut error = ApiError::unauthenticated();
        error.message = "The request you have made requires authentication.".to_owned();
        Self { service, error }
    }
}

pub(super) async fn no_route(request: Request) -> Fault {
    let error = ApiError::not_found("The resource could not be found.");
    Fault::new(Service::of(request.uri().path()), error)
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.error.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        let message = match &self.error.hint {
            Some(hint) => format!("{} ({hint})", self.error.message),
            None => self.error.message,
        };
        let mut response = match self.service {
            Service::Identity => {
                let error = json!({"code": code, "message": message, "title": title});
                (status, Json(json!({"error": error}))).into_response()
            }
            Service::Image => {
                let message = escape(&message);
                let page = format!(
                    "<html>\n <head>\n  <title>{code} {title}</title>\n </head>\n <body>\n  \
                     <h1>{code} {title}</h1>\n  {message}<br /><br />\n\n\n\n </body>\n</html>"
                );
                (status, Html(page)).into_response()
            }
        };
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Keystone uri=\"/identity/v3\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Text within HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
