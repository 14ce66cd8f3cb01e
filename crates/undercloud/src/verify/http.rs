//! One HTTPS request to a service of the cloud: with a deadline, a bound on the answer, no
//! redirects, and trust in nothing but the cloud's own CA.

use std::{sync::Arc, time::Duration};

use ureq::{
    Agent,
    http::{HeaderMap, Request, Response},
    tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use super::fault;

/// How long an address may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take; a controller under emulation thinks for a while.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The CA's file holds no certificate.
    #[error("the cloud's CA certificate cannot be read")]
    Ca,
    /// Not connected, cut, not trusted, or too late.
    #[error("{service} does not answer at {url}: {reason}")]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// What was asked.
        url: String,
        /// In the words of the system.
        reason: String,
    },
    /// The service said no.
    #[error("{service} refused {method} {path} ({status}): {message}")]
    Refused {
        /// Which service.
        service: &'static str,
        /// The request's method.
        method: &'static str,
        /// Without the host.
        path: String,
        /// HTTP status.
        status: u16,
        /// The service's sentence.
        message: String,
    },
    /// The answer is not what the service is known to say.
    #[error("{service} answered {path} with something unexpected: {reason}")]
    Answer {
        /// Which service.
        service: &'static str,
        /// Without the host.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Whom it is for, as people call it.
    pub(super) service: &'static str,
    /// `GET`.
    pub(super) method: &'static str,
    /// All of it.
    pub(super) url: &'a str,
    /// Besides those that every request has.
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// Empty for none.
    pub(super) body: Vec<u8>,
}

/// An answer of the 200s.
#[derive(Debug)]
pub(super) struct Answer {
    /// The token that it brings (Keystone's `X-Subject-Token`).
    pub(super) subject_token: Option<String>,
    /// What it says.
    pub(super) body: Vec<u8>,
}

/// A client that trusts one CA.
#[derive(Debug, Clone)]
pub(super) struct Http {
    agent: Agent,
}

impl Http {
    /// A client that trusts `ca_pem` alone.
    pub(super) fn new(ca_pem: &str) -> Result<Self, CallError> {
        Self::within(ca_pem, REQUEST_TIMEOUT)
    }

    /// The same, whose requests take no longer than that.
    pub(super) fn within(ca_pem: &str, request_max: Duration) -> Result<Self, CallError> {
        let items: Result<Vec<PemItem<'_>>, _> = parse_pem(ca_pem.as_bytes()).collect();
        let certificate = |item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        };
        let roots: Vec<_> =
            items.map_err(|_| CallError::Ca)?.into_iter().filter_map(certificate).collect();
        if roots.is_empty() {
            return Err(CallError::Ca);
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            // Plain HTTP is for what runs beside the tests.
            .https_only(!cfg!(test))
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Services close connections when they like; a new one costs less than the doubt.
            .max_idle_connections(0)
            .user_agent(concat!("undercloud/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(request_max))
            .build();
        Ok(Self { agent: Agent::new_with_config(config) })
    }

    /// Asks, and gives an answer of the 200s.
    pub(super) fn call(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let Call { service, method, url, .. } = call;
        let response = self.exchange(call)?;
        let status = response.status();
        if status.is_success() {
            let subject_token = header(response.headers(), "x-subject-token");
            return Ok(Answer { subject_token, body: response.into_body() });
        }
        let message = fault::sentence(response.body());
        let reason = || status.canonical_reason().unwrap_or("no reason given").to_owned();
        Err(CallError::Refused {
            service,
            method,
            path: path_of(url).to_owned(),
            status: status.as_u16(),
            message: message.unwrap_or_else(reason),
        })
    }

    /// Asks, and gives the answer, whatever it is.
    pub(super) fn exchange(&self, call: Call<'_>) -> Result<Response<Vec<u8>>, CallError> {
        let Call { service, method, url, headers, body } = call;
        let unreachable =
            |reason: String| CallError::Unreachable { service, url: url.to_owned(), reason };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_empty() && matches!(method, "GET" | "DELETE") {
            request.body(()).map(|request| self.agent.run(request))
        } else {
            request.body(body).map(|request| self.agent.run(request))
        };
        let response = sent
            .map_err(|error| unreachable(error.to_string()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| unreachable(error.to_string()))?;
        Ok(Response::from_parts(parts, body))
    }
}

/// A URL without scheme and host.
pub(super) fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// A header's text.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
