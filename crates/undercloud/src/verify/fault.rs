//! The bodies of refusals, as OpenStack's services and the proxy before them write them.
//!
//! Keystone `{"error": {"message": …}}`, Nova `{"itemNotFound": {"message": …}}`, Neutron
//! `{"NeutronError": {"message": …}}`, Placement `{"errors": [{"detail": …}]}`, Glance and HAProxy
//! a page of HTML.

use serde_json::Value;

/// Longest sentence that is passed on.
const LETTERS_MAX: usize = 300;

/// What the service said, on one line.
pub(super) fn sentence(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(json) => find(&json, 3)?.to_owned(),
        Err(_) => without_tags(&text),
    };
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(LETTERS_MAX).collect();
    (!line.is_empty()).then_some(line)
}

fn find(json: &Value, depth: u8) -> Option<&str> {
    let depth = depth.checked_sub(1)?;
    match json {
        Value::Object(map) => {
            let said = ["message", "detail"].into_iter().find_map(|key| map.get(key)?.as_str());
            said.filter(|text| !text.is_empty())
                .or_else(|| map.values().find_map(|below| find(below, depth)))
        }
        Value::Array(list) => list.iter().find_map(|below| find(below, depth)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The text of a page, without its title, which the heading repeats.
fn without_tags(page: &str) -> String {
    let body = page.find("</head>").map_or(page, |at| &page[at..]);
    let mut text = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_understood() {
        for (body, expected) in [
            (
                r#"{"error": {"code": 401, "message": "No\n way", "title": "Unauthorized"}}"#,
                "No way",
            ),
            (r#"{"itemNotFound": {"code": 404, "message": "Image x"}}"#, "Image x"),
            (
                r#"{"NeutronError": {"type": "A", "message": "No more IPs", "detail": ""}}"#,
                "No more IPs",
            ),
            (
                r#"{"errors": [{"status": 409, "title": "T", "detail": "Conflict of x"}]}"#,
                "Conflict of x",
            ),
            (
                "<html>\n <head>\n  <title>403 Forbidden</title>\n </head>\n <body>\n  \
                 <h1>403 Forbidden</h1>\n  Image is deactivated.<br /><br />\n </body>\n</html>",
                "403 Forbidden Image is deactivated.",
            ),
            (
                "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle \
                 this request.\n</body></html>\n",
                "503 Service Unavailable No server is available to handle this request.",
            ),
        ] {
            assert_eq!(sentence(body.as_bytes()).as_deref(), Some(expected), "{body}");
        }
        for nothing in ["", "{}", "<html></html>", "[[[[{\"message\": \"too deep\"}]]]]"] {
            assert_eq!(sentence(nothing.as_bytes()), None, "{nothing}");
        }
        assert_eq!(sentence(&[b'x'; 1000]).unwrap().len(), LETTERS_MAX);
    }
}
