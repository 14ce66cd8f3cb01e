//! One request in, one answer out; no socket.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    events::Events,
    login::{Login, Principal},
    message::{self, Message, Refusal},
    query::{self, Follow, Query},
    reply::{self, Reply, ReplyBody},
    route::{self, Answer, Context, Handler, Needs, Operation, Route},
    sessions::Sessions,
    site::Site,
    tasks::Tasks,
};
use crate::{
    failures::{FAILURE_COST, Failures},
    machine::MachineError,
};

/// Largest body of a request.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest path of an address.
const PATH_BYTES_MAX: usize = 1024;
/// Resources that one `$expand` fetches; what is beyond stays a link.
const EXPANDED_MAX: usize = 4096;

/// UTC now, as Redfish writes it. The one place that reads the wall clock.
pub(super) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A Redfish service for the machines of a site.
pub struct Service {
    pub(super) site: Site,
    pub(super) login: Arc<Login>,
    pub(super) tasks: Tasks,
    pub(super) events: Events,
    sessions: Mutex<Sessions>,
    failures: Mutex<Failures>,
    pub(super) listening: OnceLock<Listening>,
    epoch: Instant,
}

/// Where the service is to be found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("site", &self.site).finish_non_exhaustive()
    }
}

impl Service {
    /// A service without a listener.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new(site: Site) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())?;
        Ok(Self {
            login: Arc::new(Login::new(*key, site.clone())),
            events: Events::default(),
            site,
            tasks: Tasks::default(),
            sessions: Mutex::default(),
            failures: Mutex::default(),
            listening: OnceLock::new(),
            epoch: Instant::now(),
        })
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request of `peer`.
    pub async fn answer(&self, request: Request<Bytes>, peer: IpAddr) -> Response<ReplyBody> {
        let is_head = request.method() == Method::HEAD;
        let found = route::find(normal(request.uri().path()));
        let allow = found.as_ref().map(|(route, _)| route.allow());
        let mut response = match self.try_answer(&request, found, peer).await {
            Ok(response) => response,
            Err(refusal) => reply::refusal(&refusal),
        };
        let shows_allow = matches!(*request.method(), Method::GET | Method::HEAD);
        let allow = allow.filter(|_| shows_allow);
        reply::finish(&mut response, allow.as_deref(), is_head);
        response
    }

    async fn try_answer(
        &self,
        request: &Request<Bytes>,
        found: Option<(&'static Route, Vec<&str>)>,
        peer: IpAddr,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (headers, method) = (request.headers(), request.method());
        let path = normal(request.uri().path());
        known_method(method)?;
        odata_version(headers)?;
        if path.len() > PATH_BYTES_MAX {
            let message = Message::new(message::RESOURCE_MISSING, &["(too long)"]);
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
        }
        let now = Instant::now();
        let needs = found.as_ref().and_then(|(route, _)| Some(route.operation(method)?.needs));
        let caller = match needs {
            // A token that has run out must not keep its owner from logging in again.
            Some(Needs::Nothing) => None,
            // Without a login, an address that is not there looks like one that is.
            _ => Some(self.caller(headers, peer, now)?.ok_or_else(Refusal::unauthorized)?),
        };
        let (route, arguments) = found.ok_or_else(|| Refusal::missing(path))?;
        let operation = route.operation(method).ok_or_else(|| {
            let message = Message::new(message::NOT_ALLOWED, &[]);
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message);
            Refusal { allow: Some(route.allow()), ..refusal }
        })?;
        let empty = Map::new();
        let mut context = Context {
            service: self,
            path,
            arguments: &arguments,
            who: caller.as_ref(),
            unit: None,
            body: &empty,
            peer,
            now,
        };
        self.authorize(route, operation, &mut context)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            let query = Query::parse(request.uri().query().unwrap_or_default())?;
            accepts(headers, path)?;
            return self.show(operation, &context, headers, &query).await;
        }
        self.check_match(route, &context, headers).await?;
        let body = body(request)?;
        context.body = &body;
        match run(operation.handler, &context).await? {
            Reply::Changed => self.show_changed(route, &context).await,
            other => Ok(reply::plain(other)),
        }
    }

    /// Who sent it: a token before a password. `None` when it says nothing.
    fn caller(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        now: Instant,
    ) -> Result<Option<Principal>, Refusal> {
        if let Some(token) = headers.get("x-auth-token") {
            let token = self.login.mac(&[b"token", token.as_bytes()]);
            let session = self.sessions().touch(&token, now);
            let session = session.ok_or_else(Refusal::unauthorized)?;
            let who = self.login.principal(session.login, now);
            let who = who.ok_or_else(Refusal::unauthorized)?;
            return Ok(Some(who));
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let decoded = basic(value.as_bytes()).ok_or_else(Refusal::unauthorized)?;
        let colon = decoded.iter().position(|byte| *byte == b':');
        let (user, password) =
            colon.and_then(|at| decoded.split_at_checked(at)).ok_or_else(Refusal::unauthorized)?;
        let password = password.get(1..).unwrap_or_default();
        let who = self.log_in(user, password, peer, now)?;
        Ok(Some(who))
    }

    /// Who a name and a password are; wrong ones count against their source.
    pub(super) fn log_in(
        &self,
        user: &[u8],
        password: &[u8],
        peer: IpAddr,
        now: Instant,
    ) -> Result<Principal, Refusal> {
        let at = now.duration_since(self.epoch);
        let failures = || self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures().must_wait(peer, at) {
            let message = Message::new(message::ATTEMPTS, &["the service"]);
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, message);
            let seconds = u32::try_from(FAILURE_COST.as_secs()).ok();
            return Err(Refusal { retry_after_s: seconds, ..refusal });
        }
        let digest = self.login.digest(user, password);
        self.login.principal(digest, now).ok_or_else(|| {
            failures().add(peer, at);
            tracing::info!(%peer, "Redfish login refused");
            Refusal::unauthorized()
        })
    }

    /// Checks the right to a resource, and finds its machine.
    fn authorize(
        &self,
        route: &Route,
        operation: &Operation,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if operation.needs == Needs::Nothing {
            return Ok(());
        }
        let who = context.who()?;
        let mut role = Some(who.role());
        if route.is_about_a_unit() {
            let unit = self.site.unit(context.argument(0)).ok_or_else(|| context.missing())?;
            // A machine of others is not there.
            role = Some(who.role_at(&unit).ok_or_else(|| context.missing())?);
            context.unit = Some(unit);
        }
        let allowed = match operation.needs {
            Needs::Nothing => true,
            Needs::Role(needed) => role >= Some(needed),
            Needs::Site => context.who()?.administers_all(&self.site),
        };
        if allowed { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    async fn show(
        &self,
        operation: &Operation,
        context: &Context<'_>,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let reply = run(operation.handler, context).await?;
        let Reply::Resource(mut whole) = reply else { return Ok(reply::plain(reply)) };
        if query.is_empty() {
            let tag = reply::etag(&whole);
            if matches_tag(headers, header::IF_NONE_MATCH, &tag) == Some(true) {
                return Ok(reply::not_modified(&tag));
            }
            return Ok(reply::resource(whole, &tag));
        }
        if query.only {
            whole = self.only_member(whole, context).await?;
        }
        let tag = reply::etag(&whole);
        query::page(&mut whole, query)?;
        if let Some((follow, levels)) = query.expand {
            let mut budget = EXPANDED_MAX;
            self.expand(&mut whole, follow, levels, context, &mut budget).await;
        }
        Ok(reply::resource(query::select(whole, &query.select), &tag))
    }

    /// `only`: the member of a collection that has one, and else the collection.
    async fn only_member(&self, whole: Value, context: &Context<'_>) -> Result<Value, Refusal> {
        let Some(members) = whole["Members"].as_array() else {
            return Err(Refusal::bad(message::QUERY_NOT_ON_RESOURCE, &[]));
        };
        let [member] = members.as_slice() else { return Ok(whole) };
        let path = member["@odata.id"].as_str().unwrap_or_default().to_owned();
        self.read(&path, context).await.ok_or_else(|| context.missing())
    }

    /// A resource as this caller sees it; `None` when it does not.
    async fn read(&self, path: &str, context: &Context<'_>) -> Option<Value> {
        let (route, arguments) = route::find(path)?;
        let operation = route.get.as_ref()?;
        let mut inner = Context { path, arguments: &arguments, unit: None, ..*context };
        self.authorize(route, operation, &mut inner).ok()?;
        match run(operation.handler, &inner).await.ok()? {
            Reply::Resource(mut body) => {
                let tag = reply::etag(&body);
                reply::stamp(&mut body, &tag);
                Some(body)
            }
            _ => None,
        }
    }

    /// Puts resources in the place of links to them.
    fn expand<'a>(
        &'a self,
        value: &'a mut Value,
        follow: Follow,
        levels: u32,
        context: &'a Context<'a>,
        budget: &'a mut usize,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut links: Vec<&mut Value> = Vec::new();
            collect_links(value, follow, false, true, &mut links);
            for link in links {
                if *budget == 0 {
                    return;
                }
                *budget -= 1;
                let path = link["@odata.id"].as_str().unwrap_or_default().to_owned();
                if let Some(body) = self.read(&path, context).await {
                    *link = body;
                    if levels > 1 {
                        self.expand(link, follow, levels - 1, context, budget).await;
                    }
                }
            }
        })
    }

    /// `If-Match` of a change.
    async fn check_match(
        &self,
        route: &Route,
        context: &Context<'_>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if !headers.contains_key(header::IF_MATCH) {
            return Ok(());
        }
        let Some(get) = &route.get else { return Ok(()) };
        let Reply::Resource(current) = run(get.handler, context).await? else { return Ok(()) };
        match matches_tag(headers, header::IF_MATCH, &reply::etag(&current)) {
            Some(true) | None => Ok(()),
            Some(false) => {
                let message = Message::new(message::PRECONDITION, &[]);
                Err(Refusal::new(StatusCode::PRECONDITION_FAILED, message))
            }
        }
    }

    async fn show_changed(
        &self,
        route: &Route,
        context: &Context<'_>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Some(get) = &route.get else { return Ok(reply::plain(Reply::Done)) };
        Ok(reply::plain(run(get.handler, context).await?))
    }
}

/// Ends what is under way when the service stops.
pub(super) async fn finish(service: &Arc<Service>) {
    service.tasks.finish().await;
}

async fn run(handler: Handler, context: &Context<'_>) -> Answer {
    match handler {
        Handler::Now(handler) => handler(context),
        Handler::Later(handler) => handler(context).await,
    }
}

/// Both forms of an address are the same (DSP0266, 6.3); the root keeps its slash.
fn normal(path: &str) -> &str {
    match path {
        "/redfish/v1" => "/redfish/v1/",
        "/redfish/v1/" => path,
        _ => path.strip_suffix('/').unwrap_or(path),
    }
}

fn known_method(method: &Method) -> Result<(), Refusal> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
        Method::PUT,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    if known.contains(method) {
        return Ok(());
    }
    let message = Message::new(message::NOT_ALLOWED, &[]);
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, message))
}

fn odata_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("odata-version") {
        Some(version) if version != "4.0" => {
            let why = "the OData-Version of the request is not 4.0";
            let message = Message::new(message::GENERAL, &[why]);
            Err(Refusal::new(StatusCode::PRECONDITION_FAILED, message))
        }
        _ => Ok(()),
    }
}

/// Everything is JSON but for two addresses.
fn accepts(headers: &HeaderMap, path: &str) -> Result<(), Refusal> {
    let Some(accept) = headers.get(header::ACCEPT) else { return Ok(()) };
    let offered: [&str; 3] = match path {
        "/redfish/v1/$metadata" => ["application/xml", "application/*", "*/*"],
        super::events::STREAM => ["text/event-stream", "text/*", "*/*"],
        _ => ["application/json", "application/*", "*/*"],
    };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    let kinds = accept.split(',').filter_map(|kind| kind.split(';').next()).map(str::trim);
    if kinds.clone().any(|kind| offered.contains(&kind)) {
        return Ok(());
    }
    let message = Message::new(message::GENERAL, &["no type of the Accept header is offered"]);
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, message))
}

fn basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(encoded.trim_ascii()).ok().map(Zeroizing::new)
}

/// Whether one of the tags of a header is `tag`; `None` without the header.
fn matches_tag(headers: &HeaderMap, name: header::HeaderName, tag: &str) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let same = |text: &str| text == "*" || text.strip_prefix("W/").unwrap_or(text) == tag;
    Some(values.any(|value| value.to_str().unwrap_or_default().split(',').map(str::trim).any(same)))
}

/// The body of a change: an object, or nothing.
fn body(request: &Request<Bytes>) -> Result<Map<String, Value>, Refusal> {
    let bytes = request.body();
    if bytes.len() > BODY_BYTES_MAX {
        let message = Message::new(message::TOO_LARGE, &[]);
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            let message = Message::new(message::UNRECOGNIZED_BODY, &[]);
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::bad(message::UNRECOGNIZED_BODY, &[])),
        Err(_) => Err(Refusal::bad(message::MALFORMED_JSON, &[])),
    }
}

/// Objects that are a link and nothing else, below the top.
fn collect_links<'v>(
    value: &'v mut Value,
    follow: Follow,
    in_links: bool,
    top: bool,
    found: &mut Vec<&'v mut Value>,
) {
    let is_link =
        !top && value.as_object().is_some_and(|o| o.len() == 1) && value.get("@odata.id").is_some();
    if is_link {
        let wanted = match follow {
            Follow::All => true,
            Follow::Subordinate => !in_links,
            Follow::Dependent => in_links,
        };
        if wanted {
            found.push(value);
        }
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut().filter(|(name, _)| *name != "Actions") {
                collect_links(member, follow, in_links || name == "Links", false, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_links(item, follow, in_links, false, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A machine's error when a resource is read.
pub(super) fn unreadable(error: &MachineError) -> Refusal {
    tracing::debug!(%error, "machine not readable");
    Refusal::later(2)
}
