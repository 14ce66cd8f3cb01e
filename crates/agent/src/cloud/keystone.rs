//! A client of OpenStack's APIs, as small as it can be: Keystone's tokens and JSON over plain HTTP
//! on the internal network (Identity API v3).

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use undercloud_model::{Secret, agent::cloud::IdentityAccess};
use ureq::{
    Agent,
    http::{Request, header},
    unversioned::transport::DefaultConnector,
};

use crate::{
    client::AddressOnly,
    log::{chain, one_line},
};

/// How long an answer may take: a password check alone was seen to take 10 s of an emulated CPU.
const DEADLINE: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_MAX: u64 = 8 << 20;

/// Why an API gave no good answer.
#[derive(Debug)]
pub(super) enum ApiError {
    /// No answer at all.
    Silent { url: String, reason: String },
    /// Another status than one of success.
    Refused { url: String, status: u16, message: String },
    /// Not what the API's reference says.
    Strange { url: String, what: &'static str },
}

impl ApiError {
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Silent { .. } | Self::Strange { .. } => None,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Strange { .. } => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { url, reason } => write!(f, "no answer from {url}: {reason}"),
            Self::Refused { url, status, message } => {
                write!(f, "{url} answered {status}: {message}")
            }
            Self::Strange { url, what } => write!(f, "the answer from {url} has no {what}"),
        }
    }
}

/// A client for plain HTTP to addresses: no proxy, no redirects, no connection is used twice
/// (uwsgi closes them without saying so).
pub(super) fn http(deadline: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .user_agent(format!("undercloud-agent/{}", crate::VERSION))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(deadline)))
        .timeout_global(Some(deadline))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), AddressOnly)
}

/// A talk with OpenStack's APIs under one token.
#[derive(Debug, Clone)]
pub(super) struct Keystone {
    agent: Agent,
    auth_url: String,
    token: Secret,
    body: Value,
}

impl Keystone {
    /// Logs in.
    pub(super) fn login(access: &IdentityAccess) -> Result<Self, ApiError> {
        let scope = json!({"project": {"name": access.project, "domain": {"name": "Default"}}});
        let auth_url = access.auth_url.trim_end_matches('/').to_owned();
        let agent = http(DEADLINE);
        let (token, body) =
            authenticate(&agent, &auth_url, &access.user, &access.password, Some(scope))?;
        Ok(Self { agent, auth_url, token, body })
    }

    /// Whether a user's password is this one.
    pub(super) fn accepts(&self, user: &str, password: &Secret) -> Result<bool, ApiError> {
        match authenticate(&self.agent, &self.auth_url, user, password, None) {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(401) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The internal URL of an API in the catalogue.
    pub(super) fn endpoint(&self, kind: &str) -> Option<&str> {
        let services = self.body["catalog"].as_array()?;
        let service = services.iter().find(|s| s["type"] == kind)?;
        let endpoints = service["endpoints"].as_array()?;
        let endpoint = endpoints.iter().find(|e| e["interface"] == "internal")?;
        Some(endpoint["url"].as_str()?.trim_end_matches('/'))
    }

    /// The id of the domain that the project is of.
    pub(super) fn domain(&self) -> Result<&str, ApiError> {
        let id = self.body.pointer("/project/domain/id").and_then(Value::as_str);
        id.ok_or_else(|| ApiError::Strange { url: self.auth_url.clone(), what: "project's domain" })
    }

    /// Asks Keystone: `path` is below its URL.
    pub(super) fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        self.send(method, &format!("{}/{path}", self.auth_url), body)
    }

    /// Reads any URL with the token.
    pub(super) fn get(&self, url: &str) -> Result<Value, ApiError> {
        self.send("GET", url, None)
    }

    fn send(&self, method: &str, url: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        send(&self.agent, method, url, Some(&self.token), body).map(|(_, body)| body)
    }
}

fn authenticate(
    agent: &Agent,
    auth_url: &str,
    user: &str,
    password: &Secret,
    scope: Option<Value>,
) -> Result<(Secret, Value), ApiError> {
    let user = json!({
        "name": user, "domain": {"name": "Default"}, "password": password.expose(),
    });
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    let url = format!("{auth_url}/auth/tokens");
    let (token, mut body) = send(agent, "POST", &url, None, Some(&json!({"auth": auth})))?;
    let token = token.ok_or(ApiError::Strange { url, what: "token" })?;
    Ok((token, body["token"].take()))
}

/// Sends a request; gives back the token's header and the body.
fn send(
    agent: &Agent,
    method: &str,
    url: &str,
    token: Option<&Secret>,
    body: Option<&Value>,
) -> Result<(Option<Secret>, Value), ApiError> {
    let silent = |e: &ureq::Error| {
        let reason = match e {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            other => chain(other),
        };
        ApiError::Silent { url: url.to_owned(), reason: one_line(&reason) }
    };
    let mut request =
        Request::builder().method(method).uri(url).header(header::CONNECTION, "close");
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token.expose());
    }
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let response = if body.is_some() {
        let request = request.header(header::CONTENT_TYPE, "application/json").body(bytes);
        agent.run(request.map_err(|e| silent(&e.into()))?)
    } else {
        agent.run(request.body(()).map_err(|e| silent(&e.into()))?)
    };
    let mut response = response.map_err(|e| silent(&e))?;
    let status = response.status();
    let token = response.headers().get("X-Subject-Token").and_then(|v| v.to_str().ok());
    let token = token.map(Secret::new);
    let bytes = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
    let bytes = bytes.map_err(|e| silent(&e))?;
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        return Ok((token, value));
    }
    let message = value.pointer("/error/message").and_then(Value::as_str);
    let message = one_line(message.or(status.canonical_reason()).unwrap_or("no reason given"));
    Err(ApiError::Refused { url: url.to_owned(), status: status.as_u16(), message })
}

/// Talks that may be used again: a token is good for an hour, and each costs Keystone a password
/// check.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Vec<(IdentityAccess, Keystone)>>);

impl Tokens {
    /// A talk with this access, an earlier one where there is one.
    pub(super) fn get(&self, access: &IdentityAccess) -> Result<Keystone, ApiError> {
        if let Some((_, talk)) = self.all().iter().find(|(a, _)| a == access) {
            return Ok(talk.clone());
        }
        let talk = Keystone::login(access)?;
        let mut all = self.all();
        all.truncate(8);
        all.insert(0, (access.clone(), talk.clone()));
        Ok(talk)
    }

    /// Forgets the talk with this access: its token or its catalogue is old.
    pub(super) fn forget(&self, access: &IdentityAccess) {
        self.all().retain(|(a, _)| a != access);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<(IdentityAccess, Keystone)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
