//! Query parameters (DSP0266, 7.3): `only`, `$top`, `$skip`, `$select`, `$expand`.

use serde_json::{Map, Value};

use super::message::{self, Refusal};

/// Deepest `$expand`.
pub(super) const LEVELS_MAX: u32 = 3;
/// Longest query of an address.
const QUERY_BYTES_MAX: usize = 4096;
/// Properties that a `$select` may name.
const SELECT_MAX: usize = 64;

/// Which links `$expand` follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// `.`: all but those in `Links`.
    Subordinate,
    /// `~`: those in `Links`.
    Dependent,
    /// `*`: all.
    All,
}

/// What a client wants to see of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    pub(super) only: bool,
    pub(super) top: Option<usize>,
    pub(super) skip: Option<usize>,
    pub(super) select: Vec<String>,
    pub(super) expand: Option<(Follow, u32)>,
}

impl Query {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// 400 for a value that cannot be, 501 for a parameter of OData that is not offered. Others
    /// are ignored, as DSP0266 wants.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        if text.len() > QUERY_BYTES_MAX {
            return Err(Refusal::bad(message::QUERY_UNSUPPORTED, &[]));
        }
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name), decode(value));
            query.set(&name, &value)?;
        }
        let others = query.top.is_some() || query.skip.is_some();
        if query.only && (others || query.expand.is_some() || !query.select.is_empty()) {
            return Err(Refusal::bad(message::QUERY_COMBINATION, &[]));
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let bad = || Refusal::bad(message::QUERY_VALUE, &[&clip(value), name]);
        match name {
            "only" if value.is_empty() => self.only = true,
            "only" => return Err(bad()),
            "$top" => self.top = Some(value.parse().map_err(|_| bad())?),
            "$skip" => self.skip = Some(value.parse().map_err(|_| bad())?),
            "$select" => {
                self.select = value.split(',').map(|name| name.trim().to_owned()).collect();
                let empty = self.select.iter().any(String::is_empty);
                if empty || self.select.len() > SELECT_MAX {
                    return Err(bad());
                }
            }
            "$expand" => self.expand = Some(expand(value).ok_or_else(bad)?),
            other if other.starts_with('$') => {
                let message =
                    message::Message::new(message::QUERY_PARAMETER_UNSUPPORTED, &[&clip(other)]);
                return Err(Refusal::new(http::StatusCode::NOT_IMPLEMENTED, message));
            }
            _ => {}
        }
        Ok(())
    }
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

fn expand(value: &str) -> Option<(Follow, u32)> {
    let mut characters = value.chars();
    let follow = match characters.next()? {
        '.' => Follow::Subordinate,
        '~' => Follow::Dependent,
        '*' => Follow::All,
        _ => return None,
    };
    let levels = match characters.as_str() {
        "" => 1,
        rest => rest.strip_prefix("($levels=")?.strip_suffix(')')?.parse().ok()?,
    };
    (1..=LEVELS_MAX).contains(&levels).then_some((follow, levels))
}

/// `%41` and `+` of a query; what is not UTF-8 then is replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `$skip` and `$top` of a collection; other resources have no members to count.
pub(super) fn page(body: &mut Value, query: &Query) -> Result<(), Refusal> {
    if query.top.is_none() && query.skip.is_none() {
        return Ok(());
    }
    let path = body["@odata.id"].as_str().unwrap_or_default().to_owned();
    let Some(members) = body.get_mut("Members").and_then(Value::as_array_mut) else {
        return Err(Refusal::bad(message::QUERY_NOT_ON_RESOURCE, &[]));
    };
    let (all, skip) = (members.len(), query.skip.unwrap_or(0));
    let kept: Vec<Value> =
        members.drain(..).skip(skip).take(query.top.unwrap_or(usize::MAX)).collect();
    let next = skip.saturating_add(kept.len());
    let more = next < all && !kept.is_empty();
    *members = kept;
    if let (true, Some(top)) = (more, query.top) {
        body["Members@odata.nextLink"] = format!("{path}?$skip={next}&$top={top}").into();
    }
    Ok(())
}

/// `$select`: the properties named, with the annotations that make them a resource. `A/B` names a
/// property of an object.
pub(super) fn select(body: Value, names: &[String]) -> Value {
    let Value::Object(all) = body else { return body };
    if names.is_empty() {
        return Value::Object(all);
    }
    let mut kept = Map::new();
    for (name, value) in all {
        let is_kept = name.starts_with("@odata.") || names.contains(&name);
        let inner: Vec<String> = names
            .iter()
            .filter_map(|wanted| wanted.strip_prefix(name.as_str())?.strip_prefix('/'))
            .map(str::to_owned)
            .collect();
        if is_kept {
            kept.insert(name, value);
        } else if !inner.is_empty() && value.is_object() {
            kept.insert(name, select(value, &inner));
        } else if name == "Members" || name == "Members@odata.count" {
            // Members of a collection are what it is.
            kept.insert(name, value);
        }
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_understood_or_refused() {
        let query = Query::parse("$top=2&%24skip=1&$select=A,B/C&x=y").expect("good");
        assert_eq!((query.top, query.skip), (Some(2), Some(1)));
        assert_eq!(query.select, ["A", "B/C"]);
        let levels = Query::parse("$expand=.($levels=2)").expect("good").expand;
        assert_eq!(levels, Some((Follow::Subordinate, 2)));
        for (text, status) in [
            ("$top=-1", 400),
            ("$top=", 400),
            ("$expand=x", 400),
            ("$expand=.($levels=4)", 400),
            ("$expand=.($levels=0)", 400),
            ("only&$top=1", 400),
            ("only=1", 400),
            ("$select=", 400),
            ("$filter=a eq 1", 501),
            ("$nonsense", 501),
        ] {
            let refusal = Query::parse(text).expect_err(text);
            assert_eq!(refusal.status.as_u16(), status, "{text}");
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let members: Vec<Value> = (0..5).map(|n| json!({ "@odata.id": format!("/{n}") })).collect();
        let whole = json!({ "@odata.id": "/c", "Members": members, "Members@odata.count": 5 });
        let mut body = whole.clone();
        page(&mut body, &Query { top: Some(2), skip: Some(2), ..Query::default() }).expect("page");
        assert_eq!(body["Members"], json!([{ "@odata.id": "/2" }, { "@odata.id": "/3" }]));
        assert_eq!(body["Members@odata.nextLink"], "/c?$skip=4&$top=2");
        assert_eq!(body["Members@odata.count"], 5);
        let mut body = whole;
        page(&mut body, &Query { skip: Some(9), ..Query::default() }).expect("page");
        assert_eq!(body["Members"], json!([]));
        let mut single = json!({ "Id": "x" });
        assert!(page(&mut single, &Query { top: Some(1), ..Query::default() }).is_err());
    }

    #[test]
    fn what_is_selected_stays() {
        let body = json!({ "@odata.id": "/a", "A": 1, "B": { "C": 2, "D": 3 }, "E": 4 });
        let kept = select(body, &["A".into(), "B/C".into()]);
        assert_eq!(kept, json!({ "@odata.id": "/a", "A": 1, "B": { "C": 2 } }));
    }
}
