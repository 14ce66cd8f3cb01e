//! Which proxy a URL is fetched through, as the environment says it to everybody (curl(1),
//! "Environment"). Pure but for reading the environment.

use std::{env, net::IpAddr};

use ipnet::IpNet;
use ureq::http::Uri;

/// A proxy, and which variable names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    /// Its URL.
    pub(super) url: String,
    /// Who says so.
    pub(super) variable: String,
}

/// The variables that matter, in the order in which they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// Name and value.
    variables: Vec<(String, String)>,
}

/// In both spellings; the lower one comes first, as everywhere.
const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

impl Environment {
    /// This process's.
    pub(super) fn read() -> Self {
        let both = NAMES.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]);
        Self::of(both.filter_map(|name| Some((name.clone(), env::var(name).ok()?))))
    }

    pub(super) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_set = |(_, value): &(String, String)| !value.trim().is_empty();
        Self { variables: variables.into_iter().filter(is_set).collect() }
    }

    fn get(&self, name: &str) -> Option<&(String, String)> {
        self.variables.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The proxy for `url`, if it has one.
    pub(super) fn via(&self, url: &Uri) -> Option<Via> {
        let is_https = url.scheme_str() == Some("https");
        let own = if is_https { "https_proxy" } else { "http_proxy" };
        let (variable, proxy) = self.get(own).or_else(|| self.get("all_proxy"))?;
        let host = url.host()?;
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let (_, excluded) = self.get("no_proxy").cloned().unwrap_or_default();
        let is_excluded = excluded
            .split(|c: char| c == ',' || c.is_whitespace())
            .any(|entry| matches(entry, host, port));
        (!is_excluded).then(|| Via { url: proxy.trim().to_owned(), variable: variable.clone() })
    }
}

/// Whether an entry of `no_proxy` means this host.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let (entry, its_port) = split_port(entry);
    if entry.is_empty() || its_port.is_some_and(|its| its != port) {
        return false;
    }
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        return match (entry.parse::<IpNet>(), entry.parse::<IpAddr>()) {
            (Ok(network), _) => network.contains(&address),
            (_, Ok(one)) => one.to_canonical() == address,
            // The beginning of addresses, `192.0.2.` or `192.0.2.*`.
            _ => {
                let begin = entry.trim_end_matches('*');
                begin.ends_with('.') && begin.len() > 1 && host.starts_with(begin)
            }
        };
    }
    // A domain is itself and all below it, with or without a dot before it.
    let domain = entry.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    let domain = domain.to_ascii_lowercase();
    let below = || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && (host == domain || below())
}

/// `HOST:PORT`, `[ADDRESS]:PORT`, or without a port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|e| e.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(variables: &[(&str, &str)], url: &str) -> Option<Via> {
        let owned = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Environment::of(owned).via(&url.parse().unwrap())
    }

    #[test]
    fn each_scheme_has_its_own_and_one_may_be_for_all() {
        let proxy =
            |variable: &str, url: &str| Some(Via { url: url.into(), variable: variable.into() });
        let both = [("http_proxy", "http://p:1"), ("HTTPS_PROXY", "http://q:2")];
        assert_eq!(via(&both, "http://a/x"), proxy("http_proxy", "http://p:1"));
        assert_eq!(via(&both, "https://a/x"), proxy("HTTPS_PROXY", "http://q:2"));
        assert_eq!(via(&[("all_proxy", "p:3")], "https://a/x"), proxy("all_proxy", "p:3"));
        assert_eq!(via(&[("http_proxy", "http://p:1")], "https://a/x"), None);
        assert_eq!(via(&[("http_proxy", " ")], "http://a/x"), None);
    }

    #[test]
    fn who_is_excluded_is_asked_directly_in_every_form() {
        let direct = |list: &str, url: &str| {
            via(&[("http_proxy", "http://p:1"), ("no_proxy", list)], url).is_none()
        };
        for list in [
            "*",
            "192.0.2.2",
            "192.0.2.0/24",
            "192.0.0.0/8,127.0.0.1,localhost",
            "localhost, 192.0.2.2",
            "localhost 192.0.2.2",
            "192.0.2.2:8098",
            "192.0.2.",
            "192.0.2.*",
            "::ffff:192.0.2.2",
        ] {
            assert!(direct(list, "http://192.0.2.2:8098/disk.raw"), "{list}");
        }
        for list in ["", "192.0.2.3", "192.0.3.0/24", "192.0.2.2:80", ".", "2.2", "192.0.2"] {
            assert!(!direct(list, "http://192.0.2.2:8098/disk.raw"), "{list}");
        }
        for list in
            ["example.org", ".example.org", "*.example.org", "Example.ORG.", "a.example.org:80"]
        {
            assert!(direct(list, "http://a.example.org/x"), "{list}");
        }
        for list in
            ["ample.org", "b.example.org", "example.org:8080", "192.0.2.0/24", "org.example"]
        {
            assert!(!direct(list, "http://a.example.org/x"), "{list}");
        }
        assert!(direct("[fd00::1]:8080", "http://[fd00::1]:8080/x"));
        assert!(direct("fd00::1", "http://[FD00:0::1]:8080/x"));
        assert!(direct("fd00::/8", "http://[fd00::1]/x"));
        assert!(!direct("[fd00::1]:80", "http://[fd00::1]:8080/x"));
    }
}
