//! Fetching over http(s): the system's CA certificates, proxies from the environment, deadlines.

use std::{fs, io::Read, sync::Arc, time::Duration};

use ureq::{
    Agent, Proxy,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use super::ImportError;

/// Debian's collection, which an administrator may have extended.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Nothing for so long is an end. The whole may take as long as it takes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: u32 = 5;

pub(super) struct Fetcher {
    agent: Agent,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots())
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(Proxy::try_from_env())
            .max_redirects(REDIRECTS_MAX)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .timeout_per_write(Some(STALL_TIMEOUT))
            .build();
        Self { agent: Agent::new_with_config(config) }
    }

    pub(super) fn open(&self, url: &str) -> Result<Box<dyn Read>, ImportError> {
        let response = self.agent.get(url).call().map_err(|source| ImportError::Fetch {
            url: without_password(url),
            source: Box::new(source),
        })?;
        // Unlimited here: the caller counts.
        let body = response.into_body().into_with_config().limit(u64::MAX);
        Ok(Box::new(body.reader()))
    }
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
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{}", path.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_no_password() {
        let shown = without_password("https://me:pw@host.example:8443/a/b.raw?token=x");
        assert_eq!(shown, "https://host.example:8443/a/b.raw");
        assert_eq!(without_password("http://h.example"), "http://h.example/");
    }
}
