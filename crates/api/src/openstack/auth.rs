//! `/v3/auth/tokens` (api-ref, Identity v3, "Authentication and token management"): log in with the
//! password or with a token, look at a token, end it.

use axum::{Json, body::Body, extract::State, response::IntoResponse};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use undercloud_model::{Secret, UnixMillis};

use super::{
    Cloud, Context, DOMAIN_ID, DOMAIN_NAME, Fault, ImageShelf, Origin, PROJECT_NAME, REGION,
    Service, Token, USER_NAME, fixed_id, tokens::Scope,
};
use crate::{ApiError, body, serve::Peer};

#[derive(Deserialize)]
struct Login {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    identity: Identity,
    scope: Option<ScopeAsked>,
}

#[derive(Deserialize)]
struct Identity {
    methods: Vec<String>,
    password: Option<PasswordMethod>,
    token: Option<TokenMethod>,
}

#[derive(Deserialize)]
struct PasswordMethod {
    user: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(flatten)]
    named: Named,
    password: Secret,
}

#[derive(Deserialize)]
struct TokenMethod {
    id: Secret,
}

/// `"scope": "unscoped"` is a text, all others are objects.
#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeAsked {
    Text(String),
    Object(ScopeObject),
}

#[derive(Deserialize)]
struct ScopeObject {
    project: Option<Named>,
    system: Option<Value>,
}

/// Something by id, or by name and domain.
#[derive(Deserialize)]
struct Named {
    id: Option<String>,
    name: Option<String>,
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    id: Option<String>,
    name: Option<String>,
}

impl Named {
    /// Whether it is ours.
    fn is(&self, name: &str, id: &str) -> bool {
        if let Some(given) = &self.id {
            return given == id;
        }
        let domain = self.domain.as_ref().is_some_and(|d| match (&d.id, &d.name) {
            (Some(id), _) => id == DOMAIN_ID,
            (None, name) => name.as_deref() == Some(DOMAIN_NAME),
        });
        domain && self.name.as_deref() == Some(name)
    }
}

fn user_id() -> String {
    fixed_id("user admin")
}

/// The project's id: it owns the images.
pub(super) fn project_id() -> String {
    fixed_id("project admin")
}

fn refused() -> Fault {
    Fault::unauthenticated(Service::Identity)
}

fn fault(error: ApiError) -> Fault {
    Fault::new(Service::Identity, error)
}

pub(super) async fn issue<S: ImageShelf>(
    State(context): State<Context<S>>,
    origin: Origin,
    peer: Peer,
    body: Body,
) -> Result<impl IntoResponse, Fault> {
    let cloud = &*context.0;
    let now = cloud.clock.now();
    cloud.refused.check(peer.address, now).map_err(fault)?;
    let login: Login = body::read(body).await.and_then(|b| body::parse(&b)).map_err(fault)?;
    let Ok((scope, parent)) = check(cloud, &login.auth, now) else {
        tracing::warn!(peer = ?peer.address, "login refused");
        cloud.refused.note(peer.address, now);
        return Err(refused());
    };
    let (text, token) = cloud.tokens.issue(scope, parent.as_ref(), now).map_err(fault)?;
    let headers = [("x-subject-token", text.expose().to_owned()), vary()];
    Ok((StatusCode::CREATED, headers, Json(token_body(&token, &origin))))
}

/// Who says wrong does not learn what was wrong.
struct Wrong;

fn check<S>(
    cloud: &Cloud<S>,
    auth: &Auth,
    now: UnixMillis,
) -> Result<(Scope, Option<Token>), Wrong> {
    let identity = &auth.identity;
    let methods: Vec<&str> = identity.methods.iter().map(String::as_str).collect();
    let parent = match (&methods[..], &identity.password, &identity.token) {
        (["password"], Some(method), _) => {
            // Both are looked at, so that the time does not tell which is wrong.
            let (user, password) = (
                method.user.named.is(USER_NAME, &user_id()),
                method.user.password == cloud.password,
            );
            (user & password).then_some(None).ok_or(Wrong)?
        }
        (["token"], _, Some(method)) => {
            Some(cloud.tokens.find(method.id.expose(), now).ok_or(Wrong)?)
        }
        _ => return Err(Wrong),
    };
    let scope = match &auth.scope {
        None => Scope::Project,
        Some(ScopeAsked::Text(text)) if text == "unscoped" => Scope::Unscoped,
        Some(ScopeAsked::Object(ScopeObject { project: Some(project), system: None })) => {
            project.is(PROJECT_NAME, &project_id()).then_some(Scope::Project).ok_or(Wrong)?
        }
        Some(ScopeAsked::Object(ScopeObject { project: None, system: Some(system) })) => {
            (system["all"] == json!(true)).then_some(Scope::System).ok_or(Wrong)?
        }
        Some(_) => return Err(Wrong),
    };
    Ok((scope, parent))
}

/// The token that came as `X-Subject-Token`, and its text.
fn subject<S>(cloud: &Cloud<S>, headers: &HeaderMap) -> Result<(String, Token), Fault> {
    cloud.authorize(headers).ok_or_else(refused)?;
    let unknown = || fault(ApiError::not_found("Could not recognize the subject token."));
    let text = headers.get("x-subject-token").and_then(|v| v.to_str().ok()).ok_or_else(unknown)?;
    let token = cloud.tokens.find(text, cloud.clock.now()).ok_or_else(unknown)?;
    Ok((text.to_owned(), token))
}

pub(super) async fn validate<S: ImageShelf>(
    State(context): State<Context<S>>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Fault> {
    let (text, token) = subject(&context.0, &headers)?;
    Ok(([("x-subject-token", text), vary()], Json(token_body(&token, &origin))))
}

pub(super) async fn revoke<S: ImageShelf>(
    State(context): State<Context<S>>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    let (text, _) = subject(&context.0, &headers)?;
    context.0.tokens.revoke(&text, context.0.clock.now());
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn catalog<S: ImageShelf>(
    State(context): State<Context<S>>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    context.0.authorize(&headers).ok_or_else(refused)?;
    let own = format!("{origin}/identity/v3/auth/catalog");
    let links = json!({"next": null, "previous": null, "self": own});
    Ok(Json(json!({"catalog": catalog_body(&origin), "links": links})))
}

fn vary() -> (&'static str, String) {
    (header::VARY.as_str(), "X-Auth-Token".to_owned())
}

fn time(ms: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn catalog_body(origin: &Origin) -> Value {
    let service = |kind: &str, name: &str, url: String| {
        let endpoint = |interface: &&str| {
            let id = fixed_id(&format!("endpoint {kind} {interface}"));
            json!({"id": id, "interface": interface, "region": REGION, "region_id": REGION,
                "url": url})
        };
        let endpoints: Vec<Value> = ["public", "internal", "admin"].iter().map(endpoint).collect();
        let id = fixed_id(&format!("service {kind}"));
        json!({"id": id, "type": kind, "name": name, "endpoints": endpoints})
    };
    json!([
        service("identity", "keystone", format!("{origin}/identity")),
        service("image", "glance", format!("{origin}/image")),
    ])
}

fn token_body(token: &Token, origin: &Origin) -> Value {
    let domain = json!({"id": DOMAIN_ID, "name": DOMAIN_NAME});
    let roles = json!([{"id": fixed_id("role admin"), "name": "admin"}]);
    let mut body = json!({
        "methods": token.methods,
        "user": {"id": user_id(), "name": USER_NAME, "domain": domain,
            "password_expires_at": null},
        "audit_ids": token.audit_ids,
        "expires_at": time(token.expires_at),
        "issued_at": time(token.issued_at),
    });
    match token.scope {
        Scope::Unscoped => {}
        Scope::System => {
            body["system"] = json!({"all": true});
            body["roles"] = roles;
            body["catalog"] = catalog_body(origin);
        }
        Scope::Project => {
            body["project"] = json!({"id": project_id(), "name": PROJECT_NAME, "domain": domain});
            body["is_domain"] = json!(false);
            body["roles"] = roles;
            body["catalog"] = catalog_body(origin);
        }
    }
    json!({"token": body})
}
