//! What an answer says: a document, a refusal, or that it is to be asked for elsewhere. Pure.

use bytes::Bytes;
use http::{Method, Response, header};
use serde_json::Value;

use super::ClientError;
use crate::redfish::link::Endpoint;

/// The most of a service's own words that is kept.
const MESSAGE_MAX: usize = 500;

pub(super) fn refused(operation: &str, answer: &Response<Bytes>) -> ClientError {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    refused_with(operation, answer, &body)
}

fn refused_with(operation: &str, answer: &Response<Bytes>, body: &Value) -> ClientError {
    let error = &body["error"];
    let info = &error["@Message.ExtendedInfo"][0];
    let message = info["Message"].as_str();
    let message = message.or_else(|| error["message"].as_str()).unwrap_or("no reason given");
    let related = info["RelatedProperties"].as_array().into_iter().flatten();
    let related = related.filter_map(Value::as_str).filter(|name| !message.contains(*name));
    let message = related.fold(message.to_owned(), |all, name| all + " (" + name + ")");
    let message_id = info["MessageId"].as_str().or_else(|| error["code"].as_str());
    ClientError::Refused {
        operation: operation.to_owned(),
        status: answer.status().as_u16(),
        message: message.chars().take(MESSAGE_MAX).collect(),
        message_id: message_id.unwrap_or_default().chars().take(MESSAGE_MAX).collect(),
    }
}

/// The document. Some services answer well, and what they send is an error.
pub(super) fn parse(operation: &str, answer: &Response<Bytes>) -> Result<Value, ClientError> {
    let body: Option<Value> = serde_json::from_slice(answer.body()).ok();
    let body = body
        .filter(Value::is_object)
        .ok_or_else(|| ClientError::Malformed { operation: operation.to_owned(), field: "body" })?;
    if body["error"].is_object() && body["@odata.id"].is_null() {
        return Err(refused_with(operation, answer, &body));
    }
    Ok(body)
}

/// The address in a link.
pub(super) fn link_of(value: &Value) -> Option<String> {
    value["@odata.id"].as_str().filter(|path| path.starts_with('/')).map(str::to_owned)
}

/// The path at which the same service wants to be asked, if it sends us on (RFC 9110, section
/// 15.4): many put a slash behind every path. Nobody is followed to another place with a password.
pub(super) fn moved(
    endpoint: &Endpoint,
    method: &Method,
    path: &str,
    answer: &Response<Bytes>,
) -> Result<Option<String>, ClientError> {
    let is_same_request = match answer.status().as_u16() {
        307 | 308 => true,
        // What is not a read may become one on this way.
        301..=303 => method == Method::GET,
        _ => return Ok(None),
    };
    let Some(to) = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()) else {
        return Ok(None);
    };
    let elsewhere = || ClientError::Moved {
        operation: format!("{method} {path}"),
        to: to.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect(),
    };
    let next = match Endpoint::split(to) {
        Ok((there, next)) if is_same_place(&there, endpoint) => next,
        Ok(_) => return Err(elsewhere()),
        Err(_) if to.starts_with('/') && !to.starts_with("//") => to.to_owned(),
        Err(_) => return Err(elsewhere()),
    };
    if is_same_request && next != path { Ok(Some(next)) } else { Err(elsewhere()) }
}

fn is_same_place(one: &Endpoint, other: &Endpoint) -> bool {
    one.tls == other.tls && one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, to: Option<&str>) -> Response<Bytes> {
        let mut response = Response::builder().status(status);
        if let Some(to) = to {
            response = response.header(header::LOCATION, to);
        }
        response.body(Bytes::new()).expect("response")
    }

    #[test]
    fn only_the_same_place_is_followed_and_only_with_the_same_request() {
        let endpoint = Endpoint { tls: true, host: "10.0.0.1".into(), port: 443 };
        let path = "/redfish/v1/Systems";
        let slash = "/redfish/v1/Systems/";
        let follow =
            |method: &Method, status, to| moved(&endpoint, method, path, &answer(status, to));
        for status in [301, 302, 303, 307, 308] {
            for to in [
                slash,
                "https://10.0.0.1/redfish/v1/Systems/",
                "https://10.0.0.1:443/redfish/v1/Systems/",
            ] {
                let next = follow(&Method::GET, status, Some(to)).expect("same place");
                assert_eq!(next.as_deref(), Some(slash), "{status} {to}");
            }
        }
        assert_eq!(follow(&Method::POST, 308, Some(slash)).expect("same"), Some(slash.into()));
        for (method, status, to) in [
            (Method::POST, 301, slash),
            (Method::PATCH, 302, slash),
            (Method::GET, 308, path),
            (Method::GET, 308, "https://10.0.0.2/redfish/v1/Systems/"),
            (Method::GET, 308, "https://10.0.0.1:8443/redfish/v1/Systems/"),
            (Method::GET, 308, "http://10.0.0.1/redfish/v1/Systems/"),
            (Method::GET, 308, "//10.0.0.2/x"),
            (Method::GET, 308, "ftp://10.0.0.1/x"),
        ] {
            let error = follow(&method, status, Some(to)).expect_err("another place");
            assert!(error.to_string().contains(to), "{error}");
        }
        assert_eq!(follow(&Method::GET, 200, Some(slash)).expect("none"), None);
        assert_eq!(follow(&Method::GET, 308, None).expect("none"), None);
    }

    #[test]
    fn a_good_status_with_an_error_is_an_error() {
        let mut response = answer(200, None);
        *response.body_mut() =
            Bytes::from_static(br#"{"error":{"code":"x.y","message":"not today"}}"#);
        let error = parse("GET /x", &response).expect_err("an error");
        assert_eq!(error.to_string(), "Redfish GET /x: status 200: not today");
        *response.body_mut() = Bytes::from_static(br#"{"@odata.id":"/x","error":{}}"#);
        parse("GET /x", &response).expect("a document with such a property");
        *response.body_mut() = Bytes::from_static(b"<html>");
        let error = parse("GET /x", &response).expect_err("no JSON");
        assert!(error.to_string().contains("no JSON object"), "{error}");
    }
}
