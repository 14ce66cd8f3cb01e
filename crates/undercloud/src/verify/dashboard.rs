//! Horizon, where the cloud has the feature, as a browser meets it: the login form with its token, the
//! project's overview with the server in it, the way out.

use std::time::Duration;

use anyhow::Result;
use undercloud_api::admin::CloudAccess;
use undercloud_model::ErrorKind;

use super::{
    NAME,
    browser::{Browser, Page, hidden_fields, words},
    session::{Session, may_be_starting, readable},
    wait::{Seen, until},
};
use crate::failure::Failure;

const LOGIN: &str = "/auth/login/";
const OVERVIEW: &str = "/project/";
const LOGOUT: &str = "/auth/logout/";
/// It begins with its first visitor.
const STARTS_MAX: Duration = Duration::from_secs(120);
const HINT: &str = "`undercloud logs` lists the logs of horizon";

/// Logs in, looks at the project, and logs out.
pub(super) fn check(session: &Session, access: &CloudAccess, url: &str) -> Result<((), String)> {
    let mut browser = session.browser(url);
    let page =
        until("the dashboard's login page", STARTS_MAX, HINT, || match browser.open(LOGIN) {
            Ok(page) if page.status < 500 => Ok(Seen::Yes(page)),
            Ok(page) => Ok(Seen::NotYet(format!("it answers {}", page.status))),
            Err(error) if may_be_starting(&error) => Ok(Seen::NotYet(error.to_string())),
            Err(error) => Err(readable(error)),
        })?;
    looks_right(&page, LOGIN)?;
    styled(&mut browser, &page)?;
    log_in(&mut browser, access, &page)?;
    let overview = browser.open(OVERVIEW).map_err(readable)?;
    looks_right(&overview, OVERVIEW)?;
    if !overview.text.contains(&format!("user-name\">{}<", access.user)) {
        return Err(wrong(format!("the project's overview is not {}'s", access.user)));
    }
    if !words(&overview.text).contains(NAME) {
        return Err(wrong(format!("the project's overview does not show the server {NAME}")));
    }
    leave(&mut browser)?;
    Ok(((), format!("{} shows the server, from login to logout", url.trim_end_matches('/'))))
}

/// Sends the form as a person fills it in.
fn log_in(browser: &mut Browser<'_>, access: &CloudAccess, page: &Page) -> Result<()> {
    let mut fields = hidden_fields(&page.text);
    if !fields.contains_key("csrfmiddlewaretoken") {
        return Err(wrong("the login form has no token against forged requests"));
    }
    fields.insert("username".to_owned(), access.user.clone());
    fields.insert("password".to_owned(), access.password.expose().to_owned());
    let answer = browser.send(LOGIN, &fields).map_err(readable)?;
    let leads_on = answer.location.as_deref().is_some_and(|to| !to.contains(LOGIN));
    if answer.status != 302 || !leads_on {
        let why = complaint(&answer).unwrap_or_else(|| format!("it answers {}", answer.status));
        return Err(wrong(format!("the dashboard does not let {} in: {why}", access.user)));
    }
    match browser.cookie("sessionid") {
        Some(cookie) if cookie.secure && cookie.http_only => Ok(()),
        Some(_) => Err(wrong("the cookie of a session may travel without TLS, or scripts see it")),
        None => Err(wrong("the login gave no cookie of a session")),
    }
}

/// After the way out the session is over.
fn leave(browser: &mut Browser<'_>) -> Result<()> {
    browser.open(LOGOUT).map_err(readable)?;
    let after = browser.open(OVERVIEW).map_err(readable)?;
    match after.location {
        Some(to) if to.contains(LOGIN) => Ok(()),
        _ => Err(wrong("the project's overview is open after the logout")),
    }
}

/// The first style sheet that a page names is there: without those it cannot be used.
fn styled(browser: &mut Browser<'_>, page: &Page) -> Result<()> {
    let sheets = page.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let Some(sheet) = sheets.into_iter().find(|path| path.ends_with(".css")) else {
        return Err(wrong("the login page names no style sheet"));
    };
    match browser.open(sheet).map_err(readable)?.status {
        200 => Ok(()),
        status => Err(wrong(format!("the style sheet {sheet} is answered with {status}"))),
    }
}

/// A page, and no complaint on it: Horizon shows what it could not ask beside what it could.
fn looks_right(page: &Page, path: &str) -> Result<()> {
    if page.status != 200 {
        let to = page.location.as_ref().map(|to| format!(", to {to}")).unwrap_or_default();
        return Err(wrong(format!("the dashboard answers {path} with {}{to}", page.status)));
    }
    complaint(page)
        .map_or(Ok(()), |said| Err(wrong(format!("the dashboard says at {path}: {said}"))))
}

/// The first red box of a page, but the one for browsers without scripts.
fn complaint(page: &Page) -> Option<String> {
    let mut boxes = page.text.split("alert-danger").skip(1);
    let rest = boxes.find(|rest| !rest.starts_with(" text-center javascript-disabled"))?;
    let (_, rest) = rest.split_once('>')?;
    Some(words(rest.split("</div>").next().unwrap_or_default()))
}

fn wrong(message: impl Into<String>) -> anyhow::Error {
    Failure::new(ErrorKind::Unavailable, message.into()).hint(HINT).into()
}
