//! The agent's half of the protocol over HTTPS: requests with a deadline, replies with a bound.
//!
//! Nothing is trusted but the CA that came with the identity. The daemon is named by address: there
//! is no resolver here, and none is needed.

mod blob;
mod resolver;
mod validity;

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use undercloud_model::{Digest, Secret};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
    unversioned::transport::DefaultConnector,
};

use crate::log::{chain, one_line};

pub use blob::{BlobReader, Patience};
pub(crate) use resolver::AddressOnly;

/// The largest reply that is read: an order with a config drive in it.
const REPLY_BYTES_MAX: u64 = 16 << 20;
/// The largest refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 16 << 10;
/// How long an address may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one read of an image may take before the connection counts as dead.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The identity's URL is not an HTTPS URL of an address.
    #[error("`{0}` is not an https URL of an address")]
    Url(String),
    /// The identity holds no usable CA.
    #[error("the identity holds no CA certificate that can be read")]
    Ca,
    /// No answer: not connected, cut, or too late. Trying again may help.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// In the words of the system.
        reason: String,
    },
    /// The daemon said no.
    #[error("{url} refused ({status}): {message}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The daemon's sentence, and its hint.
        message: String,
    },
    /// The answer is not one of this protocol.
    #[error("{url} answered something else than expected: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later: no answer, or an answer that says "not now".
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || matches!(*status, 408 | 425 | 429),
            Self::Url(_) | Self::Ca | Self::Answer { .. } => false,
        }
    }
}

/// The shape of the daemon's refusals.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalText,
}

#[derive(Deserialize)]
struct RefusalText {
    message: String,
    hint: Option<String>,
}

/// A connection to the daemon, and the key for it once there is one. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    key: Option<Secret>,
}

impl Client {
    /// A client of the daemon at `api` that trusts `ca_pem` alone. Does not connect yet.
    pub fn new(api: &str, ca_pem: &str) -> Result<Self, ClientError> {
        let base = api.trim_end_matches('/');
        resolver::address_of(base).ok_or_else(|| ClientError::Url(one_line(api)))?;
        let mut roots = Vec::new();
        for item in parse_pem(ca_pem.as_bytes()) {
            match item {
                Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
                Ok(_) => {}
                Err(_) => return Err(ClientError::Ca),
            }
        }
        if roots.is_empty() {
            return Err(ClientError::Ca);
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(format!("undercloud-agent/{}", crate::VERSION))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .timeout_per_write(Some(STALL_TIMEOUT))
            .build();
        let connector = DefaultConnector::default();
        let agent = Agent::with_parts(config, connector, resolver::AddressOnly);
        Ok(Self { agent, base: base.to_owned(), key: None })
    }

    /// The same client with a bearer key for all further requests.
    #[must_use]
    pub fn with_key(mut self, key: Secret) -> Self {
        self.key = Some(key);
        self
    }

    /// Sends `request` and reads the answer, all within `deadline`.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let mut response = self.send(&url, request, deadline)?;
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        let body = body.map_err(|e| unreachable(&url, &e))?;
        serde_json::from_slice(&body).map_err(|e| {
            // Only where and of what kind: the text of the error may quote the reply.
            let reason = format!("{:?} error at column {} of the reply", e.classify(), e.column());
            ClientError::Answer { url, reason }
        })
    }

    /// Sends `request`; of the answer only the status matters.
    pub fn tell(
        &self,
        path: &str,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<(), ClientError> {
        let url = format!("{}{path}", self.base);
        self.send(&url, request, deadline).map(drop)
    }

    fn send(
        &self,
        url: &str,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<Response<Body>, ClientError> {
        let body = serde_json::to_vec(request)
            .map_err(|e| ClientError::Answer { url: url.to_owned(), reason: e.to_string() })?;
        let mut call = self
            .agent
            .post(url)
            .config()
            .timeout_global(Some(deadline))
            .timeout_per_read(Some(deadline))
            .build()
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            call = call.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        accept(url, call.send(&body[..]).map_err(|e| unreachable(url, &e))?)
    }

    /// Asks for a blob from byte `from` on.
    fn get_blob(&self, digest: &Digest, from: u64) -> Result<Response<Body>, ClientError> {
        let url = format!("{}/agent/v1/blobs/{digest}", self.base);
        let mut call = self.agent.get(&url);
        if let Some(key) = &self.key {
            call = call.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        if from > 0 {
            call = call.header(header::RANGE, format!("bytes={from}-"));
        }
        accept(&url, call.call().map_err(|e| unreachable(&url, &e))?)
    }
}

fn accept(url: &str, mut response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT) {
        return Ok(response);
    }
    let body = response.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
    let message = match serde_json::from_slice::<Refusal>(&body.unwrap_or_default()) {
        Ok(Refusal { error: RefusalText { message, hint: Some(hint) } }) => {
            format!("{message}; {hint}")
        }
        Ok(Refusal { error }) => error.message,
        Err(_) => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    let message = one_line(&message);
    Err(ClientError::Refused { url: url.to_owned(), status: status.as_u16(), message })
}

fn unreachable(url: &str, error: &ureq::Error) -> ClientError {
    let reason = match error {
        ureq::Error::Io(e) => io_reason(e),
        other => chain(other),
    };
    ClientError::Unreachable { url: url.to_owned(), reason: one_line(&reason) }
}

/// TLS failures are wrapped as I/O errors; their text says what is wrong with the certificate.
fn io_reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(clock) = tls.and_then(validity::clock_is_wrong) {
        return clock;
    }
    error.get_ref().map_or_else(|| error.to_string(), |inner| chain(inner))
}
