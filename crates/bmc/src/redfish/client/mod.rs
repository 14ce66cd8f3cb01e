//! The client half: drives the system of any Redfish service.
//!
//! ```text
//! connect ─▶ root ─▶ session, else Basic ─▶ the system ─▶ power, boot, media, … ─▶ log_out
//! ```
//!
//! One connection and one request at a time per service, within a [`Budget`]. A session that the
//! service has dropped is opened again once; a request that must not be done twice is never sent
//! twice. Whoever asks now and then keeps the session meanwhile ([`kept`]). What a service offers is
//! read from it; where it does otherwise than it says, there is a row in [`quirks`].

mod answer;
mod error;
mod events;
mod inventory;
mod kept;
mod media;
mod quirks;
mod system;
mod tag;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use self::{
    answer::{link_of, moved, parse, refused},
    tag::{Condition, Refusal},
};
pub use self::{
    error::{ClientError, ErrorKind},
    events::{EventStream, PowerEvent},
    inventory::Sensor,
    system::{Boot, BootEnabled, BootMode},
};
use super::link::{Endpoint, Link, LinkError, Trust};
pub use crate::governor::Budget;
use crate::{credentials::Credentials, governor::Gate};

/// Largest answer; a page of a large collection has some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// So often one request is sent on.
const MOVES_MAX: usize = 3;
/// So many systems are named where none was chosen.
const SYSTEMS_SHOWN_MAX: usize = 8;

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct Config {
    /// `https://HOST[:PORT]`, with or without `/redfish/v1/…` behind it. The address of a system
    /// chooses that system.
    pub address: String,
    /// Who logs in.
    pub credentials: Credentials,
    /// Which certificate is good.
    pub trust: Trust,
    /// How long one request may take.
    pub deadline: Duration,
    /// How much the service has to bear.
    pub budget: Budget,
}

/// What a service offers for its system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Who made the service.
    pub vendor: Option<String>,
    /// The version of the protocol.
    pub version: Option<String>,
    /// Whether requests go by session rather than by Basic.
    pub sessions: bool,
    /// The types of reset.
    pub reset_types: Vec<String>,
    /// The targets of a boot override.
    pub boot_targets: Vec<String>,
    /// Whether there are virtual drives.
    pub virtual_media: bool,
    /// Whether there is a stream of events.
    pub event_stream: bool,
}

/// How requests show who sends them.
enum Login {
    Session { path: String, token: Zeroizing<String> },
    Basic,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    login: Option<Login>,
    /// When the last answer came.
    heard_at: Option<Instant>,
}

/// A service, and one system of it.
pub struct Client {
    config: Config,
    endpoint: Endpoint,
    root: Value,
    system: String,
    gate: Arc<Gate>,
    state: Mutex<State>,
    /// Only a new client may help: it is not let in any more, or not by whom it knew.
    ended: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, system, .. } = self;
        f.debug_struct("Client").field("endpoint", endpoint).field("system", system).finish()
    }
}

/// A resource and its tag.
struct Document {
    body: Value,
    etag: Option<String>,
}

impl Client {
    /// Logs in, and finds the system.
    ///
    /// # Errors
    /// [`ClientError`]; no session is left behind.
    pub async fn connect(config: Config) -> Result<Self, ClientError> {
        let gate = Arc::new(Gate::new(config.budget));
        Self::connect_through(config, gate).await
    }

    /// Logs in, and finds the system; every request takes its turn at the controller's gate, which
    /// others may share.
    ///
    /// # Errors
    /// [`ClientError`]; no session is left behind.
    pub async fn connect_through(config: Config, gate: Arc<Gate>) -> Result<Self, ClientError> {
        let (endpoint, path) = Endpoint::split(&config.address)
            .map_err(|source| ClientError::Link { operation: "connect".into(), source })?;
        let (state, ended) = (Mutex::default(), AtomicBool::new(false));
        let (root, system) = (Value::Null, String::new());
        let mut client = Self { config, endpoint, root, system, gate, state, ended };
        client.root = client.read_open("/redfish/v1/").await?;
        client.log_in().await?;
        match client.find_system(&path).await {
            Ok(system) => client.system = system,
            Err(error) => {
                client.log_out().await;
                return Err(error);
            }
        }
        Ok(client)
    }

    /// What the service offers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn capabilities(&self) -> Result<Capabilities, ClientError> {
        let system = self.get(&self.system).await?.body;
        let names = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let reset = &system["Actions"]["#ComputerSystem.Reset"];
        let events = match link_of(&self.root["EventService"]) {
            Some(path) => self.get(&path).await?.body,
            None => Value::Null,
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        // Not inside the value: the lock would be held across the requests below.
        let sessions = matches!(self.state.lock().await.login, Some(Login::Session { .. }));
        Ok(Capabilities {
            vendor: text(&self.root["Vendor"]),
            version: text(&self.root["RedfishVersion"]),
            sessions,
            reset_types: names(&reset["ResetType@Redfish.AllowableValues"]),
            boot_targets: names(
                &system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"],
            ),
            virtual_media: !self.media_paths().await?.is_empty(),
            event_stream: events["ServerSentEventUri"].is_string(),
        })
    }

    /// The address of the system.
    #[must_use]
    pub fn system_path(&self) -> &str {
        &self.system
    }

    /// Reads any resource.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_raw(&self, path: &str) -> Result<Value, ClientError> {
        Ok(self.get(path).await?.body)
    }

    /// Sends any action.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`ErrorKind::Unknown`] when it may have been done.
    pub async fn post_raw(&self, path: &str, body: &Value) -> Result<(), ClientError> {
        self.post(path, body).await.map(drop)
    }

    /// Ends the session; the service forgets it by itself if this does not reach it.
    pub async fn log_out(&self) {
        let login = self.state.lock().await.login.take();
        if let Some(Login::Session { path, token }) = login {
            let request = self.request(&Method::DELETE, &path, None, None);
            let request = request.map(|mut request| {
                if let Ok(token) = HeaderValue::from_str(&token) {
                    request.headers_mut().insert("x-auth-token", token);
                }
                request
            });
            if let Ok(request) = request
                && let Err(error) = self.exchange(request, "log out").await
            {
                tracing::debug!(%error, "Redfish session not closed");
            }
        }
    }

    /// A session where there are sessions, else Basic.
    async fn log_in(&self) -> Result<(), ClientError> {
        let login = match link_of(&self.root["Links"]["Sessions"]) {
            Some(path) => self.open_session(&path).await?,
            None => Login::Basic,
        };
        self.state.lock().await.login = Some(login);
        Ok(())
    }

    async fn open_session(&self, path: &str) -> Result<Login, ClientError> {
        let credentials = &self.config.credentials;
        let password = String::from_utf8_lossy(credentials.password().bytes());
        let body = json!({ "UserName": credentials.user(), "Password": password });
        let answer = self.ask(&Method::POST, path, Some(&body), None, "log in", false).await?;
        match answer.status() {
            // Services that have sessions switched off say so in one of these ways.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => {
                return Ok(Login::Basic);
            }
            status if status.is_success() => {}
            _ => return Err(refused("log in", &answer)),
        }
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let malformed = |field| ClientError::Malformed { operation: "log in".into(), field };
        let token = text("x-auth-token").ok_or_else(|| malformed("X-Auth-Token"))?;
        // Some give a whole address, some a path, some only the body.
        let location = text("location").map(|location| {
            Endpoint::split(location).map_or_else(|_| location.to_owned(), |(_, path)| path)
        });
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let path = location.or_else(|| link_of(&body)).ok_or_else(|| malformed("Location"))?;
        Ok(Login::Session { path, token: Zeroizing::new(token.to_owned()) })
    }

    /// The system that an address names, or the only one there is.
    async fn find_system(&self, path: &str) -> Result<String, ClientError> {
        if path.trim_end_matches('/').starts_with("/redfish/v1/Systems/") {
            let path = path.trim_end_matches('/').to_owned();
            self.get(&path).await?;
            return Ok(path);
        }
        let none = || ClientError::NotOffered { what: "systems".into() };
        let collection = link_of(&self.root["Systems"]).ok_or_else(none)?;
        match self.members(&collection).await?.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(none()),
            several => {
                let names = several.iter().take(SYSTEMS_SHOWN_MAX).map(String::as_str);
                let systems = names.collect::<Vec<_>>().join(", ");
                Err(ClientError::ManySystems { systems })
            }
        }
    }

    /// The addresses of a collection's members, over all its pages.
    async fn members(&self, collection: &str) -> Result<Vec<String>, ClientError> {
        const PAGES_MAX: usize = 256;
        let (mut paths, mut page) = (Vec::new(), Some(collection.to_owned()));
        for _ in 0..PAGES_MAX {
            let Some(path) = page else { break };
            let body = self.get(&path).await?.body;
            let members = body["Members"].as_array().into_iter().flatten();
            paths.extend(members.filter_map(link_of));
            page = body["Members@odata.nextLink"].as_str().map(str::to_owned);
        }
        Ok(paths)
    }

    /// Reads what needs no login.
    async fn read_open(&self, path: &str) -> Result<Value, ClientError> {
        let answer = self.ask(&Method::GET, path, None, None, path, false).await?;
        if !answer.status().is_success() {
            return Err(refused(path, &answer));
        }
        parse(path, &answer)
    }

    async fn get(&self, path: &str) -> Result<Document, ClientError> {
        let answer = self.call(&Method::GET, path, None, None).await?;
        let etag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let etag = etag.map(str::to_owned);
        Ok(Document { body: parse(path, &answer)?, etag })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Response<Bytes>, ClientError> {
        self.call(&Method::POST, path, Some(body), None).await
    }

    /// Changes a resource that nobody else has changed since it was read. The change must be the
    /// same when it is made twice.
    async fn change(
        &self,
        path: &str,
        body: &Value,
        etag: Option<String>,
    ) -> Result<(), ClientError> {
        let mut condition = Condition::new(etag);
        loop {
            let if_match = condition.if_match();
            let answer = self.call(&Method::PATCH, path, Some(body), if_match.as_deref()).await;
            let Err(ClientError::Refused { status, .. }) = &answer else {
                return answer.map(drop);
            };
            let Some(refusal) = Refusal::of(*status) else { return answer.map(drop) };
            if !condition.again(refusal, self.get(path).await?.etag) {
                return answer.map(drop);
            }
        }
    }

    /// Sends a request with the login, and once more with a new session when the old one is gone.
    async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Response<Bytes>, ClientError> {
        let operation = format!("{method} {path}");
        let mut answer = self.ask(method, path, body, etag, &operation, true).await?;
        let is_session = matches!(self.state.lock().await.login, Some(Login::Session { .. }));
        if answer.status() == StatusCode::UNAUTHORIZED && is_session {
            self.log_in().await.inspect_err(|error| self.note(error))?;
            answer = self.ask(method, path, body, etag, &operation, true).await?;
        }
        if answer.status().is_success() { Ok(answer) } else { Err(refused(&operation, &answer)) }
    }

    /// Sends a request, with the login if it needs one, to wherever the service wants it.
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        operation: &str,
        with_login: bool,
    ) -> Result<Response<Bytes>, ClientError> {
        let mut path = path.to_owned();
        for _ in 0..MOVES_MAX {
            let mut request = self.request(method, &path, body, etag)?;
            if with_login {
                self.authorize(&mut request).await;
            }
            let answer = self.exchange(request, operation).await?;
            match moved(&self.endpoint, method, &path, &answer)? {
                Some(next) => path = next,
                None => return Ok(answer),
            }
        }
        Err(ClientError::Moved { operation: operation.to_owned(), to: path })
    }

    async fn authorize(&self, request: &mut Request<Full<Bytes>>) {
        let state = self.state.lock().await;
        let (name, value) = match &state.login {
            Some(Login::Session { token, .. }) => ("x-auth-token", token.clone()),
            Some(Login::Basic) => {
                let credentials = &self.config.credentials;
                let mut pair = Zeroizing::new(credentials.user().as_bytes().to_vec());
                pair.push(b':');
                pair.extend_from_slice(credentials.password().bytes());
                ("authorization", Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))))
            }
            None => return,
        };
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("odata-version", "4.0")
            .header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(bytes)).map_err(|_| ClientError::Malformed {
            operation: format!("{method} to {}", self.endpoint),
            field: "@odata.id",
        })
    }

    /// Sends a request over the connection there is, or over a new one.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        operation: &str,
    ) -> Result<Response<Bytes>, ClientError> {
        let _turn = self.gate.turn().await;
        let limit = self.config.deadline;
        let mut state = self.state.lock().await;
        let is_read = request.method() == Method::GET;
        let mut link = match state.link.take().filter(Link::is_open) {
            Some(link) => link,
            None => self.open().await.map_err(|source| link_error(operation, source))?,
        };
        let copy = is_read.then(|| request.clone());
        let mut answer = link.send(request, limit, ANSWER_BYTES_MAX).await;
        // A service may close an idle connection just as it is used: reading again does no harm.
        if let (Err(LinkError::Exchange { .. }), Some(copy)) = (&answer, copy) {
            link = self.open().await.map_err(|source| link_error(operation, source))?;
            answer = link.send(copy, limit, ANSWER_BYTES_MAX).await;
        }
        let answer = answer.map_err(|source| {
            let operation = operation.to_owned();
            if is_read {
                ClientError::Link { operation, source }
            } else {
                ClientError::OutcomeUnknown { operation, source }
            }
        })?;
        state.link = Some(link);
        state.heard_at = Some(Instant::now());
        Ok(answer)
    }

    async fn open(&self) -> Result<Link, LinkError> {
        let link = Link::open(&self.endpoint, &self.config.trust, self.config.deadline).await;
        if matches!(link, Err(LinkError::Tls { .. })) {
            self.ended.store(true, Ordering::Relaxed);
        }
        link
    }

    /// Notes that a session cannot be opened again: the password is another, or the service is.
    fn note(&self, error: &ClientError) {
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Busy) {
            self.ended.store(true, Ordering::Relaxed);
        }
    }
}

fn link_error(operation: &str, source: LinkError) -> ClientError {
    ClientError::Link { operation: operation.to_owned(), source }
}
