//! Fetching over http(s): the system's CA certificates, proxies from the environment, deadlines.

use std::{fs, io::Read, sync::Arc, time::Duration};

use ureq::{
    Agent, Body, Proxy,
    config::Config,
    http::{Response, Uri, header::LOCATION},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::{
    ImportError,
    proxy::{Environment, Via},
};

/// Debian's collection, which an administrator may have extended.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Nothing for so long is an end. The whole may take as long as it takes.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: u32 = 5;
/// As many as ureq has room for.
const ADDRESSES_MAX: usize = 16;

pub(super) struct Fetcher {
    tls: TlsConfig,
    environment: Environment,
}

/// What is being fetched.
pub(super) struct Fetched {
    pub(super) body: Box<dyn Read>,
    /// How long it will be, if the server says so.
    pub(super) length: Option<u64>,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        Self::with(Environment::read())
    }

    pub(super) fn with(environment: Environment) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots())
            .unversioned_rustls_crypto_provider(provider)
            .build();
        Self { tls, environment }
    }

    pub(super) fn open(&self, url: &str) -> Result<Fetched, ImportError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url)?;
            let Some(next) = moved_to(&url, &response) else {
                let length = response.body().content_length();
                // Unlimited here: the caller counts.
                let body = response.into_body().into_with_config().limit(u64::MAX);
                return Ok(Fetched { body: Box::new(body.reader()), length });
            };
            // Each place has its own way: one may be inside, and the next behind the proxy.
            url = next;
        }
        Err(failed(&url, None, ureq::Error::TooManyRedirects))
    }

    fn ask(&self, url: &str) -> Result<Response<Body>, ImportError> {
        let parsed: Uri = url.parse().map_err(|_| ImportError::Url(without_password(url)))?;
        let via = self.environment.via(&parsed);
        let proxy = match &via {
            None => None,
            Some(via) => Some(Proxy::new(&via.url).map_err(|_| ImportError::Proxy {
                variable: via.variable.clone(),
                url: without_password(&via.url),
            })?),
        };
        let config = Agent::config_builder()
            .tls_config(self.tls.clone())
            .proxy(proxy)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .timeout_per_write(Some(STALL_TIMEOUT))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Names);
        let answer = agent.get(parsed).call();
        answer.map_err(|source| failed(url, via.as_ref(), source))
    }
}

/// The host's own way to look names up.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default);
        let mut all = self.empty();
        for address in
            undercloud_names::addresses(authority.host(), port)?.into_iter().take(ADDRESSES_MAX)
        {
            all.push(address);
        }
        Ok(all)
    }
}

fn failed(url: &str, via: Option<&Via>, source: ureq::Error) -> ImportError {
    let through = via.map(|Via { url, variable }| {
        format!(" through the proxy {} ({variable})", without_password(url))
    });
    ImportError::Fetch {
        url: without_password(url),
        through: through.unwrap_or_default(),
        source: Box::new(source),
    }
}

/// Where a redirection leads (RFC 9110, section 15.4).
fn moved_to(url: &str, response: &Response<Body>) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let to = response.headers().get(LOCATION)?.to_str().ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let path = rest[host.len()..].split(['?', '#']).next()?;
    Some(if to.contains("://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{host}{to}")
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{to}")
    })
}

fn roots() -> RootCerts {
    let Ok(pem) = fs::read(SYSTEM_CERTIFICATES) else { return RootCerts::WebPki };
    let items = parse_pem(&pem).filter_map(Result::ok);
    let certificates: Vec<Certificate<'static>> = items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::Specific(Arc::new(certificates))
    }
}

/// The URL as it may stand in a message.
pub(super) fn without_password(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}{host}/{}", path.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_no_password() {
        let shown = without_password("https://me:pw@host.example:8443/a/b.raw?token=x");
        assert_eq!(shown, "https://host.example:8443/a/b.raw");
        assert_eq!(without_password("http://h.example"), "http://h.example/");
        assert_eq!(without_password("me:pw@proxy.example:3128"), "proxy.example:3128/");
    }

    #[test]
    fn a_refusal_names_the_proxy_and_one_that_is_none_is_refused() {
        let with = |proxy: &str| {
            let variable = ("http_proxy".to_owned(), proxy.to_owned());
            Fetcher::with(Environment::of([variable])).open("http://192.0.2.2:8098/a.raw").err()
        };
        // Nobody listens there: a port that was just let go.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = with(&format!("http://me:pw@127.0.0.1:{port}")).unwrap().to_string();
        let through = format!("through the proxy http://127.0.0.1:{port}/ (http_proxy)");
        assert_eq!(text, format!("cannot fetch http://192.0.2.2:8098/a.raw {through}"));
        let text = with("nonsense://me:pw@x").unwrap().to_string();
        assert_eq!(text, "http_proxy is nonsense://x/, which is no proxy's URL");
    }

    #[test]
    fn a_redirection_is_followed_from_where_it_stands() {
        let from = "http://a.example/x/disk.raw?y=1";
        for (to, expected) in [
            ("https://b.example/z", "https://b.example/z"),
            ("//b.example/z", "http://b.example/z"),
            ("/z?q", "http://a.example/z?q"),
            ("other.raw", "http://a.example/x/other.raw"),
        ] {
            let response = Response::builder().status(308).header(LOCATION, to);
            let response = response.body(Body::builder().data("")).unwrap();
            assert_eq!(moved_to(from, &response).as_deref(), Some(expected), "{to}");
        }
        let other = Response::builder().status(200).body(Body::builder().data("")).unwrap();
        assert_eq!(moved_to(from, &other), None);
    }
}
