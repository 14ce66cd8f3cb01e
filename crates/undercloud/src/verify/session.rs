//! A login to the cloud: a token, and where the services are. Requests and answers in JSON.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use undercloud_api::admin::CloudAccess;
use undercloud_model::{ErrorKind, Secret};

use super::{
    browser::Browser,
    http::{Call, CallError, Http, path_of},
    server::Troubles,
    wait::{Seen, Watched, until},
};
use crate::failure::Failure;

/// A service that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Glance.
    Image,
    /// Nova.
    Compute,
    /// Neutron.
    Network,
    /// Heat, where the cloud has it.
    Orchestration,
    /// Barbican, where the cloud has it.
    KeyManager,
    /// Designate, where the cloud has it.
    Dns,
}

/// The service that gives tokens.
const KEYSTONE: &str = "Keystone";

impl Service {
    const ALL: [Self; 6] = [
        Self::Image,
        Self::Compute,
        Self::Network,
        Self::Orchestration,
        Self::KeyManager,
        Self::Dns,
    ];

    /// Whether every cloud has it.
    fn is_everywhere(self) -> bool {
        match self {
            Self::Image | Self::Compute | Self::Network => true,
            Self::Orchestration | Self::KeyManager | Self::Dns => false,
        }
    }

    /// As people call it.
    fn name(self) -> &'static str {
        match self {
            Self::Image => "Glance",
            Self::Compute => "Nova",
            Self::Network => "Neutron",
            Self::Orchestration => "Heat",
            Self::KeyManager => "Barbican",
            Self::Dns => "Designate",
        }
    }

    /// As the catalogue calls it (OpenStack service types authority).
    fn kind(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Compute => "compute",
            Self::Network => "network",
            Self::Orchestration => "orchestration",
            Self::KeyManager => "key-manager",
            Self::Dns => "dns",
        }
    }

    /// What its endpoint's URL lacks.
    fn prefix(self) -> &'static str {
        match self {
            Self::Image | Self::Dns => "/v2",
            Self::Compute | Self::Orchestration => "",
            Self::Network => "/v2.0",
            Self::KeyManager => "/v1",
        }
    }
}

/// A session of one user in one project.
#[derive(Debug)]
pub(super) struct Session {
    http: Http,
    auth_url: String,
    login: Secret,
    token: Mutex<Secret>,
    endpoints: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
struct LoggedIn {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    catalog: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    url: String,
}

/// With whom a login is patient.
pub(super) struct Patience<'a> {
    /// How long a cloud may take to start.
    pub(super) max: Duration,
    /// What is known to be wrong.
    pub(super) troubles: &'a Troubles<'a>,
    /// Told, once, why it waits.
    pub(super) waits: &'a dyn Fn(&str),
}

const NO_LINK: &str =
    "undercloud status shows whether this host has a link to the cloud's public network";

/// Whether that is what a cloud says while it starts.
pub(super) fn may_be_starting(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { reason, .. } => !reason.contains("certificate"),
        CallError::Refused { status, .. } => *status >= 500,
        CallError::Ca | CallError::Answer { .. } => false,
    }
}

/// How a login came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// The password is taken.
    Good,
    /// It is not; what Keystone said.
    Refused(String),
    /// Keystone did not answer, or not as it should.
    NoAnswer(String),
}

/// Logs in, and no more: within this time or not at all.
pub(crate) fn login(access: &CloudAccess, ca_pem: &str, within: Duration) -> Login {
    let answer = Http::within(ca_pem, within)
        .and_then(|http| log_in(&http, access.auth_url.trim_end_matches('/'), &body(access)));
    match answer {
        Ok(_) => Login::Good,
        Err(CallError::Refused { status: 401, message, .. }) => Login::Refused(message),
        Err(error) => Login::NoAnswer(error.to_string()),
    }
}

/// A login of that user in that project.
fn body(access: &CloudAccess) -> Secret {
    let domain = json!({ "name": "Default" });
    let user = json!({
        "name": access.user, "domain": domain, "password": access.password.expose(),
    });
    let login = json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": { "name": access.project, "domain": domain } },
    }});
    Secret::new(login.to_string())
}

impl Session {
    /// Logs in, and finds the services in the catalogue. Waits for a cloud whose machines have just
    /// started; what is known to be wrong with them ends that.
    pub(super) fn open(
        access: &CloudAccess,
        ca_pem: &str,
        patience: &Patience<'_>,
    ) -> Result<Self> {
        let http = Http::new(ca_pem).map_err(readable)?;
        let login = body(access);
        let auth_url = access.auth_url.trim_end_matches('/').to_owned();
        let watched = Watched::new(patience.troubles);
        let said = std::cell::Cell::new(false);
        let look = || match log_in(&http, &auth_url, &login) {
            Ok(answer) => Ok(Seen::Yes(answer)),
            Err(error) if may_be_starting(&error) => {
                watched.look("a login")?;
                if !said.replace(true) {
                    (patience.waits)(&error.to_string());
                }
                Ok(Seen::NotYet(error.to_string()))
            }
            Err(error) => Err(readable(error)),
        };
        let (token, body) = until("a login", patience.max, NO_LINK, look)?;
        let catalogue: LoggedIn = serde_json::from_slice(&body).map_err(|error| {
            let (service, path) = (KEYSTONE, "/v3/auth/tokens".to_owned());
            readable(CallError::Answer { service, path, reason: error.to_string() })
        })?;
        let mut endpoints = BTreeMap::new();
        for service in Service::ALL {
            let url = public_url(&catalogue.token.catalog, service, &access.region);
            let missing = || {
                let (name, region) = (service.name(), &access.region);
                let message = format!("the catalogue has no public URL of {name} in {region}");
                Failure::new(ErrorKind::NotFound, message).hint("undercloud cloud install")
            };
            match url {
                Some(url) => endpoints.insert(service.kind(), url.to_owned()),
                None if service.is_everywhere() => return Err(missing().into()),
                None => None,
            };
        }
        Ok(Self { http, auth_url, login, token: Mutex::new(token), endpoints })
    }

    /// Whether the cloud has it.
    pub(super) fn has(&self, service: Service) -> bool {
        self.endpoints.contains_key(service.kind())
    }

    /// What is there.
    pub(super) fn get(&self, service: Service, path: &str) -> Result<Value> {
        self.json(service, "GET", path, None, &[]).map_err(readable)
    }

    /// What is there, or nothing.
    pub(super) fn find(&self, service: Service, path: &str) -> Result<Option<Value>> {
        match self.json(service, "GET", path, None, &[]) {
            Err(CallError::Refused { status: 404, .. }) => Ok(None),
            answer => answer.map(Some).map_err(readable),
        }
    }

    /// Makes something, or has something done.
    pub(super) fn post(&self, service: Service, path: &str, body: &Value) -> Result<Value> {
        self.json(service, "POST", path, Some(body), &[]).map_err(readable)
    }

    /// The same as of a later version of Nova's API.
    pub(super) fn post_as_of(&self, version: &str, path: &str, body: &Value) -> Result<Value> {
        let headers = [("openstack-api-version", version)];
        self.json(Service::Compute, "POST", path, Some(body), &headers).map_err(readable)
    }

    /// The same where "not yet" is an answer: the thing is there but not ready, or not there.
    pub(super) fn post_early(
        &self,
        service: Service,
        path: &str,
        body: &Value,
    ) -> Result<Option<Value>> {
        match self.json(service, "POST", path, Some(body), &[]) {
            Err(CallError::Refused { status: 404 | 409 | 503, .. }) => Ok(None),
            answer => answer.map(Some).map_err(readable),
        }
    }

    /// Changes something.
    pub(super) fn put(&self, service: Service, path: &str, body: &Value) -> Result<Value> {
        self.json(service, "PUT", path, Some(body), &[]).map_err(readable)
    }

    /// Removes something; it may be gone already. Whether it is: not while others need it.
    pub(super) fn delete(&self, service: Service, path: &str) -> Result<bool> {
        match self.json(service, "DELETE", path, None, &[]) {
            Ok(_) | Err(CallError::Refused { status: 404, .. }) => Ok(true),
            Err(CallError::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(readable(error)),
        }
    }

    /// Sends the content of an image.
    pub(super) fn upload(&self, image: &str, content: Vec<u8>) -> Result<()> {
        let path = format!("/images/{image}/file");
        let kind = [("content-type", "application/octet-stream")];
        self.send(Service::Image, "PUT", &path, &kind, content).map(drop).map_err(readable)
    }

    /// What is there, as plain text.
    pub(super) fn text(&self, service: Service, path: &str) -> Result<String> {
        let answer = self.send(service, "GET", path, &[("accept", "text/plain")], vec![]);
        Ok(String::from_utf8_lossy(&answer.map_err(readable)?).into_owned())
    }

    /// A browser that trusts the cloud, and has no cookies yet.
    pub(super) fn browser(&self, site: &str) -> Browser<'_> {
        Browser::new(&self.http, site)
    }

    /// A page of the cloud that needs no token.
    pub(super) fn page(&self, url: &str) -> Result<String> {
        let call =
            Call { service: "the console proxy", method: "GET", url, headers: &[], body: vec![] };
        let answer = self.http.call(call).map_err(readable)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn json(
        &self,
        service: Service,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Value, CallError> {
        let mut all = vec![("content-type", "application/json"), ("accept", "application/json")];
        all.extend(headers);
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let answer = self.send(service, method, path, &all, body)?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| CallError::Answer {
            service: service.name(),
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    fn send(
        &self,
        service: Service,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        let base = self.endpoints.get(service.kind()).map_or("", String::as_str);
        let url = format!("{}{}{path}", base.trim_end_matches('/'), service.prefix());
        let attempt = |token: Secret, body: Vec<u8>| {
            let mut headers = headers.to_vec();
            headers.push(("x-auth-token", token.expose()));
            let call = Call { service: service.name(), method, url: &url, headers: &headers, body };
            self.http.call(call).map(|answer| answer.body)
        };
        match attempt(self.token(), body.clone()) {
            // Tokens end; a new one is asked for once.
            Err(CallError::Refused { status: 401, .. }) => {
                let (token, _) = log_in(&self.http, &self.auth_url, &self.login)?;
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
                attempt(token, body)
            }
            answer => answer,
        }
    }

    fn token(&self) -> Secret {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keystone's API, "Password authentication with scoped authorization".
fn log_in(http: &Http, auth_url: &str, login: &Secret) -> Result<(Secret, Vec<u8>), CallError> {
    let url = format!("{auth_url}/auth/tokens");
    let headers = [("content-type", "application/json")];
    let body = login.expose().as_bytes().to_vec();
    let call = Call { service: KEYSTONE, method: "POST", url: &url, headers: &headers, body };
    let answer = http.call(call)?;
    let token = answer.subject_token.ok_or_else(|| CallError::Answer {
        service: KEYSTONE,
        path: path_of(&url).to_owned(),
        reason: "it brings no token".to_owned(),
    })?;
    Ok((Secret::new(token), answer.body))
}

fn public_url<'a>(catalogue: &'a [Listed], service: Service, region: &str) -> Option<&'a str> {
    let listed = catalogue.iter().filter(|listed| listed.kind == service.kind());
    let is_it = |endpoint: &&Endpoint| {
        endpoint.interface == "public" && endpoint.region.as_deref().is_none_or(|r| r == region)
    };
    listed.flat_map(|listed| &listed.endpoints).find(is_it).map(|e| e.url.as_str())
}

/// An error as a person reads it: what failed, and what to do.
pub(super) fn readable(error: CallError) -> anyhow::Error {
    let (kind, hint) = match &error {
        CallError::Ca => (ErrorKind::Bug, "undercloud cloud install writes it again"),
        CallError::Unreachable { reason, .. } if reason.contains("certificate") => (
            ErrorKind::Unavailable,
            "another cloud may have this address: `ip route` on this host shows where it leads",
        ),
        CallError::Unreachable { .. } => (ErrorKind::Unavailable, NO_LINK),
        CallError::Refused { status: 401, .. } => (
            ErrorKind::Denied,
            "the cloud has another administrator's password: undercloud cloud install sets ours",
        ),
        CallError::Refused { status: 403, .. } => {
            (ErrorKind::Denied, "the administrator's role is missing: undercloud cloud install")
        }
        CallError::Refused { status: 500.., .. } => {
            (ErrorKind::Unavailable, "`undercloud logs` lists the logs of the services")
        }
        CallError::Refused { status: 404, .. } => {
            (ErrorKind::NotFound, "run it again: something was removed meanwhile")
        }
        CallError::Refused { status: 409, .. } => {
            (ErrorKind::Conflict, "run it again: it removes what an earlier run left")
        }
        CallError::Refused { .. } | CallError::Answer { .. } => {
            (ErrorKind::Bug, "`undercloud logs` lists the logs of the services")
        }
    };
    Failure::new(kind, error.to_string()).hint(hint).into()
}
