//! Answers, and how they become HTTP (DSP0266, 8.1: the headers that every answer carries).

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;

use super::{message::Refusal, schema, tasks::Task};

/// The body of an answer.
pub type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// What a resource answers.
pub(super) enum Reply {
    /// A resource, or a document that looks like one.
    Resource(Value),
    /// A resource was changed: show it as it is now.
    Changed,
    /// Done; nothing to show.
    Done,
    /// A resource was made.
    Created { path: String, body: Value, token: Option<String> },
    /// Under way.
    Accepted(Task),
    /// A document that is not JSON.
    Xml(String),
    /// A document of the service that is no resource.
    Document(Value),
    /// Events, for as long as the client listens.
    Events(BoxStream<'static, Bytes>),
}

/// Properties that change by themselves: a client's copy is not stale because of them.
const VOLATILE: [&str; 4] = ["DateTime", "Reading", "ReadingTime", "@odata.etag"];

/// The ETag of a resource: a hash of everything in it that can be changed by a request or an
/// event.
pub(super) fn etag(resource: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    feed(resource, &mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(hasher),
        Value::Bool(truth) => (1u8, truth).hash(hasher),
        Value::Number(number) => (2u8, number).hash(hasher),
        Value::String(text) => (3u8, text).hash(hasher),
        Value::Array(items) => {
            (4u8, items.len()).hash(hasher);
            for item in items {
                feed(item, hasher);
            }
        }
        Value::Object(members) => {
            (5u8, members.len()).hash(hasher);
            for (name, member) in members {
                if !VOLATILE.contains(&name.as_str()) {
                    name.hash(hasher);
                    feed(member, hasher);
                }
            }
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Ids and paths of ours are printable; anything else is left out rather than a panic.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn full(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into()).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, body: &Value) -> Response<ReplyBody> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A resource with its ETag; `tag` is that of the whole when only part of it is shown.
pub(super) fn resource(mut body: Value, tag: &str) -> Response<ReplyBody> {
    stamp(&mut body, tag);
    let mut response = json(StatusCode::OK, &body);
    set(response.headers_mut(), header::ETAG, tag);
    describe(response.headers_mut(), &body);
    response
}

/// Writes a resource's tag into it.
pub(super) fn stamp(body: &mut Value, tag: &str) {
    if let Value::Object(members) = body {
        members.insert("@odata.etag".to_owned(), tag.into());
    }
}

fn describe(headers: &mut HeaderMap, body: &Value) {
    let link = body["@odata.type"].as_str().and_then(schema::described_by);
    if let Some(link) = link {
        set(headers, header::LINK, &link);
    }
}

pub(super) fn not_modified(tag: &str) -> Response<ReplyBody> {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    set(response.headers_mut(), header::ETAG, tag);
    response
}

pub(super) fn refusal(refusal: &Refusal) -> Response<ReplyBody> {
    let mut response = json(refusal.status, &refusal.to_json());
    let headers = response.headers_mut();
    if let Some(allow) = &refusal.allow {
        set(headers, header::ALLOW, allow);
    }
    if let Some(seconds) = refusal.retry_after_s {
        set(headers, header::RETRY_AFTER, &seconds.to_string());
    }
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"Redfish\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Everything but resources, which need the query first.
pub(super) fn plain(reply: Reply) -> Response<ReplyBody> {
    match reply {
        Reply::Resource(body) => {
            let tag = etag(&body);
            resource(body, &tag)
        }
        Reply::Document(body) => json(StatusCode::OK, &body),
        Reply::Changed | Reply::Done => empty(StatusCode::NO_CONTENT),
        Reply::Created { path, mut body, token } => {
            let tag = etag(&body);
            stamp(&mut body, &tag);
            let mut response = json(StatusCode::CREATED, &body);
            let headers = response.headers_mut();
            describe(headers, &body);
            set(headers, header::ETAG, &tag);
            set(headers, header::LOCATION, &path);
            if let Some(token) = token {
                set(headers, HeaderName::from_static("x-auth-token"), &token);
            }
            response
        }
        Reply::Accepted(task) => {
            let body = super::resource::tasks::show(&task);
            let mut response = json(StatusCode::ACCEPTED, &body);
            let headers = response.headers_mut();
            describe(headers, &body);
            set(headers, header::LOCATION, &super::resource::tasks::path(task.id));
            set(headers, header::RETRY_AFTER, "5");
            response
        }
        Reply::Xml(text) => {
            let mut response = Response::new(full(text));
            let content_type = HeaderValue::from_static("application/xml; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
        Reply::Events(events) => {
            let frames = futures_util::StreamExt::map(events, |bytes| Ok(Frame::data(bytes)));
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
    }
}

/// What every answer carries.
pub(super) fn finish(response: &mut Response<ReplyBody>, allow: Option<&str>, head: bool) {
    let headers = response.headers_mut();
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(allow) = allow {
        set(headers, header::ALLOW, allow);
    }
    if head {
        *response.body_mut() = full(Bytes::new());
    }
}
