//! Sessions of Redfish cannot be fixed, guessed at or kept: a token is what a login gave, and
//! nothing else.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use bytes::Bytes;
use fixture::rack::{Rack, password};
use http::{Request, Response, StatusCode};
use serde_json::json;
use undercloud_bmc::redfish::server::{ReplyBody, service::Service};

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const SYSTEM: &str = "/redfish/v1/Systems/m1";

async fn ask(
    service: &Service,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &serde_json::Value,
) -> Response<ReplyBody> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("x-auth-token", token);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    service.answer(request.body(body).expect("request"), [192, 0, 2, 1].into()).await
}

async fn login(service: &Service, token: Option<&str>) -> (String, String) {
    let body = json!({ "UserName": "admin", "Password": password(1) });
    let response = ask(service, "POST", SESSIONS, token, &body).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    (header("x-auth-token"), header("location"))
}

async fn status(service: &Service, token: Option<&str>) -> StatusCode {
    ask(service, "GET", SYSTEM, token, &serde_json::Value::Null).await.status()
}

#[tokio::test]
async fn a_token_that_somebody_chose_is_none() {
    let service = Service::new(Rack::new(1).site).expect("service");
    let chosen = "0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(status(&service, Some(chosen)).await, StatusCode::UNAUTHORIZED);
    let (token, _) = login(&service, Some(chosen)).await;
    assert_ne!(token, chosen);
    assert_eq!(status(&service, Some(chosen)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&service, Some(&token)).await, StatusCode::OK);
    // Nor is one taken from the body.
    let body = json!({ "UserName": "admin", "Password": password(1), "Token": chosen });
    let refused = ask(&service, "POST", SESSIONS, None, &body).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(status(&service, Some(chosen)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn each_login_has_a_token_of_its_own_that_ends_with_it() {
    let service = Service::new(Rack::new(1).site).expect("service");
    let (first, path) = login(&service, None).await;
    // Being logged in already makes no difference.
    let (second, _) = login(&service, Some(&first)).await;
    assert_ne!(first, second);
    let id = path.rsplit('/').next().expect("an id");
    assert!(!first.contains(id), "the address, which is logged, does not tell the token");
    let closed = ask(&service, "DELETE", &path, Some(&first), &serde_json::Value::Null).await;
    assert!(closed.status().is_success());
    assert_eq!(status(&service, Some(&first)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&service, Some(&second)).await, StatusCode::OK);
}
