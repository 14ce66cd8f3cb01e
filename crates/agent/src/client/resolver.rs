//! Takes the address out of a URL. There is no name resolution: a static program has none, and a
//! name would only be one more thing to lie about.

use std::net::SocketAddr;

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// Gives the address that the URL is written with, and nothing else.
#[derive(Debug)]
pub(crate) struct AddressOnly;

impl Resolver for AddressOnly {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut found = self.empty();
        found.push(address(uri).ok_or(Error::HostNotFound)?);
        Ok(found)
    }
}

/// The address of an `https` URL.
pub(super) fn address_of(url: &str) -> Option<SocketAddr> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") {
        return None;
    }
    address(&uri)
}

fn address(uri: &Uri) -> Option<SocketAddr> {
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let standard = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Some(SocketAddr::new(host.parse().ok()?, authority.port_u16().unwrap_or(standard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_only_and_https_only() {
        let of = |url| address_of(url).map(|a| a.to_string());
        assert_eq!(of("https://192.168.24.1:8443"), Some("192.168.24.1:8443".into()));
        assert_eq!(of("https://[fd00::1]"), Some("[fd00::1]:443".into()));
        for bad in ["http://192.168.24.1", "https://daemon:1", "https://1.2.3.4/x", "", "é"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
