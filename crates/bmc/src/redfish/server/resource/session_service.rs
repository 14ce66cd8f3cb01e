//! Sessions: log in, look, log out.

use serde_json::{Value, json};

use super::{
    super::{
        login::Role,
        message::Refusal,
        patch::Body,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, Route},
        service::timestamp,
        sessions::{NewSession, Session, TIMEOUT_RANGE_S},
    },
    collection, enabled, link, resource,
};

const SERVICE: &str = "/redfish/v1/SessionService";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, show).patch(Needs::Site, Handler::Now(change)),
    Route::new(SESSIONS, list).post(Needs::Nothing, Handler::Now(open)),
    // The same, as DSP0266 13.3.4.1 also lets clients write it.
    Route::action(
        "/redfish/v1/SessionService/Sessions/Members",
        Needs::Nothing,
        Handler::Now(open),
    ),
    Route::new("/redfish/v1/SessionService/Sessions/{}", session)
        .delete(Needs::Role(Role::ReadOnly), Handler::Now(close)),
];

fn show(context: &Context<'_>) -> Answer {
    let rest = json!({
        "ServiceEnabled": true,
        "SessionTimeout": context.service.sessions().timeout_s,
        "Sessions": link(SESSIONS),
        "Status": enabled(),
    });
    Ok(Reply::Resource(resource("SessionService", SERVICE, "SessionService", "Sessions", rest)))
}

fn change(context: &Context<'_>) -> Answer {
    let mut body = Body::of_resource(context.body);
    let timeout = body.number("SessionTimeout")?;
    body.finish(
        &json!({ "Id": "", "Name": "", "ServiceEnabled": "", "Sessions": "", "Status": "" }),
    )?;
    if let Some(timeout) = timeout {
        if !TIMEOUT_RANGE_S.contains(&timeout) {
            let arguments = [timeout.to_string(), "SessionTimeout".to_owned()];
            let [value, name] = &arguments;
            let kind = super::super::message::PROPERTY_OUT_OF_RANGE;
            return Err(Refusal::bad(kind, &[value, name]));
        }
        context.service.sessions().timeout_s = timeout;
    }
    Ok(Reply::Changed)
}

/// Sessions that the caller may know of: its own, and those of the machines it administers.
fn visible(context: &Context<'_>) -> Result<Vec<Session>, Refusal> {
    let who = context.who()?;
    let service = context.service;
    let all = who.administers_all(&service.site);
    let sessions = service.sessions().list(|s| all || s.login == who.digest, context.now);
    Ok(sessions)
}

fn path(id: &str) -> String {
    format!("{SESSIONS}/{id}")
}

fn list(context: &Context<'_>) -> Answer {
    let members: Vec<String> = visible(context)?.iter().map(|session| path(&session.id)).collect();
    Ok(Reply::Resource(collection("SessionCollection", SESSIONS, "Sessions", &members)))
}

fn body_of(session: &Session) -> Value {
    resource(
        "Session",
        &path(&session.id),
        &session.id,
        "Session",
        json!({
            "UserName": session.user,
            "CreatedTime": session.created,
            "ClientOriginIPAddress": session.source.to_string(),
            "Password": Value::Null,
            "Token": Value::Null,
        }),
    )
}

fn find(context: &Context<'_>) -> Result<Session, Refusal> {
    let id = context.argument(0);
    let found = visible(context)?.into_iter().find(|session| session.id == id);
    found.ok_or_else(|| context.missing())
}

fn session(context: &Context<'_>) -> Answer {
    Ok(Reply::Resource(body_of(&find(context)?)))
}

fn close(context: &Context<'_>) -> Answer {
    let session = find(context)?;
    context.service.sessions().close(|other| other.id == session.id);
    Ok(Reply::Done)
}

/// A token carries 192 bits, a session's id 64 others.
fn open(context: &Context<'_>) -> Answer {
    let mut body = Body::of_resource(context.body);
    let user = body.text("UserName")?;
    let password = body.text("Password")?;
    let user = user.ok_or_else(|| body.missing("UserName"))?;
    let password = password.ok_or_else(|| body.missing("Password"))?;
    body.finish(&Value::Null)?;
    let service = context.service;
    let who = service.log_in(user.as_bytes(), password.as_bytes(), context.peer, context.now)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|_| Refusal::later(1))?;
    let (id, token) = random.split_at(8);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (id, token) = (hex(id), hex(token));
    let new = NewSession {
        id,
        user: who.user,
        login: who.digest,
        source: context.peer,
        created: timestamp(),
    };
    let digest = service.login.mac(&[b"token", token.as_bytes()]);
    let session = service.sessions().open(digest, new, context.now);
    let (path, body) = (path(&session.id), body_of(&session));
    Ok(Reply::Created { path, body, token: Some(token) })
}
