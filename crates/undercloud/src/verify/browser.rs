//! As much of a browser as a form needs: cookies of one site, where an answer leads, and the fields
//! of a page.

use std::collections::BTreeMap;

use super::http::{Call, CallError, Http, header};

/// As people call it.
const SERVICE: &str = "the dashboard";

/// A browser on one site.
#[derive(Debug)]
pub(super) struct Browser<'a> {
    http: &'a Http,
    site: String,
    cookies: BTreeMap<String, Cookie>,
}

/// What a site has a browser keep (RFC 6265, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cookie {
    value: String,
    /// Sent over TLS alone.
    pub(super) secure: bool,
    /// Hidden from the scripts of pages.
    pub(super) http_only: bool,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Where it leads, for the 300s.
    pub(super) location: Option<String>,
    pub(super) text: String,
}

impl<'a> Browser<'a> {
    /// `site` is a URL, of which the path does not count.
    pub(super) fn new(http: &'a Http, site: &str) -> Self {
        let (scheme, rest) = site.split_once("://").unwrap_or(("https", site));
        let host = rest.split('/').next().unwrap_or_default();
        Self { http, site: format!("{scheme}://{host}"), cookies: BTreeMap::new() }
    }

    /// Opens a page.
    pub(super) fn open(&mut self, path: &str) -> Result<Page, CallError> {
        self.go("GET", path, &[], Vec::new())
    }

    /// Sends the form of a page of this site.
    pub(super) fn send(
        &mut self,
        path: &str,
        fields: &BTreeMap<String, String>,
    ) -> Result<Page, CallError> {
        let pairs = fields.iter().map(|(name, value)| [encoded(name), encoded(value)].join("="));
        let body = pairs.collect::<Vec<_>>().join("&");
        let (site, from) = (self.site.clone(), format!("{}{path}", self.site));
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", site.as_str()),
            ("referer", from.as_str()),
        ];
        self.go("POST", path, &headers, body.into_bytes())
    }

    /// A cookie that it keeps.
    pub(super) fn cookie(&self, name: &str) -> Option<&Cookie> {
        self.cookies.get(name)
    }

    fn go(
        &mut self,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<Page, CallError> {
        let url = format!("{}{path}", self.site);
        let cookies = self.cookies.iter().map(|(name, cookie)| format!("{name}={}", cookie.value));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        let call = Call { service: SERVICE, method, url: &url, headers: &headers, body };
        let answer = self.http.exchange(call)?;
        let set = answer.headers().get_all("set-cookie").iter();
        for (name, cookie) in set.filter_map(|value| parsed(value.to_str().ok()?)) {
            match cookie {
                Some(cookie) => self.cookies.insert(name, cookie),
                None => self.cookies.remove(&name),
            };
        }
        Ok(Page {
            status: answer.status().as_u16(),
            location: header(answer.headers(), "location"),
            text: String::from_utf8_lossy(answer.body()).into_owned(),
        })
    }
}

/// A `Set-Cookie`: its name, and the cookie unless that is to go.
fn parsed(text: &str) -> Option<(String, Option<Cookie>)> {
    let mut parts = text.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let mut cookie = Cookie { value: value.to_owned(), secure: false, http_only: false };
    let mut is_over = false;
    for attribute in parts {
        match attribute.to_ascii_lowercase().as_str() {
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "max-age=0" => is_over = true,
            _ => {}
        }
    }
    Some((name.to_owned(), (!is_over).then_some(cookie)))
}

/// The hidden fields of a page's forms, by name: what a browser sends without being told to.
pub(super) fn hidden_fields(page: &str) -> BTreeMap<String, String> {
    let tags = page.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let hidden = tags.filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"));
    let pair = |tag: &str| Some((attribute(tag, "name")?, attribute(tag, "value")?));
    hidden.filter_map(pair).collect()
}

/// The value of an attribute of a tag, in quotes of either kind.
pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    let begin = [' ', '\n', '\t'].iter().find_map(|space| {
        let key = format!("{space}{name}=");
        tag.find(&key).map(|at| at + key.len())
    })?;
    let quote = tag[begin..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let value = tag[begin + 1..].split(quote).next()?;
    Some(unescaped(value))
}

/// What Django's templates escape (`django.utils.html.escape`).
fn unescaped(text: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'")];
    let plain = entities.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    plain.replace("&amp;", "&")
}

/// What a page says without its tags, on one line.
pub(super) fn words(html: &str) -> String {
    let mut parts = html.split('<');
    let first = parts.next().unwrap_or_default();
    let rest = parts.filter_map(|part| part.split_once('>').map(|(_, text)| text));
    let text = [first].into_iter().chain(rest).collect::<Vec<_>>().join(" ");
    unescaped(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// One name or value of a form (`application/x-www-form-urlencoded`).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_page_and_no_cookie_panics(text in "([<>\"'&;=/ é-]|input|type=|hidden|Max-Age=0){0,40}") {
            let _ = (hidden_fields(&text), words(&text), parsed(&text));
        }
    }

    #[test]
    fn a_cookie_is_kept_until_it_is_over() {
        let (name, cookie) =
            parsed("sessionid=a=b; HttpOnly; Path=/; SameSite=Lax; Secure").unwrap();
        let expected = Cookie { value: "a=b".into(), secure: true, http_only: true };
        assert_eq!((name.as_str(), cookie), ("sessionid", Some(expected)));
        let plain = parsed("csrftoken=x; Path=/").unwrap().1.unwrap();
        assert!(!plain.secure && !plain.http_only);
        let over =
            parsed("sessionid=\"\"; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/");
        assert_eq!(over, Some(("sessionid".into(), None)));
        assert_eq!(parsed("nonsense"), None);
    }

    #[test]
    fn hidden_fields_are_those_that_nobody_types() {
        let page = "<form><input type=\"hidden\" name=\"csrfmiddlewaretoken\" value=\"t&amp;k\">\n\
                    <input type='hidden'\n name='region' value='http://x'/><input type=\"text\" \
                    name=\"username\" value=\"u\"><input type=\"hidden\" value=\"no name\"></form>";
        let expected = [("csrfmiddlewaretoken", "t&k"), ("region", "http://x")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(hidden_fields(page), BTreeMap::from(expected));
        assert_eq!(hidden_fields("<input type=\"hidden\" name=\"open"), BTreeMap::new());
    }

    #[test]
    fn forms_and_sentences_are_plain_text() {
        assert_eq!(encoded("a b&c=é/~"), "a%20b%26c%3D%C3%A9%2F%7E");
        assert_eq!(words("<p>\n <b>Error:</b> it&#x27;s\n off</p>"), "Error: it's off");
    }
}
