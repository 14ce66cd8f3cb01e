//! A server's certificate, kept in a file and renewed while the server runs.

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use camino::{Utf8Path, Utf8PathBuf};
use rcgen::SanType;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use undercloud_model::UnixMillis;

use super::{
    Authority, Issued,
    file::{self, TlsError, damaged},
};

/// A certificate with less than this left is replaced.
const RENEW_BEFORE_MS: i64 = 266 * 24 * 3600 * 1000;

/// A name that clients use to reach a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerName {
    /// An address.
    Ip(IpAddr),
    /// A DNS name.
    Dns(String),
}

impl ServerName {
    pub(super) fn to_san(&self) -> Result<SanType, rcgen::Error> {
        match self {
            Self::Ip(ip) => Ok(SanType::IpAddress(*ip)),
            Self::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

impl From<IpAddr> for ServerName {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl From<&str> for ServerName {
    /// An address if it is one, a DNS name otherwise.
    fn from(text: &str) -> Self {
        IpAddr::from_str(text).map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    names: Vec<ServerName>,
    authority_pem: String,
    #[serde(flatten)]
    issued: Issued,
}

struct Current {
    config: Arc<ServerConfig>,
    not_after_ms: UnixMillis,
}

/// A server's side of TLS: asked for a configuration at every connection, it renews the
/// certificate when that is due.
pub struct Server {
    authority: Arc<Authority>,
    path: Utf8PathBuf,
    names: Vec<ServerName>,
    current: Mutex<Current>,
}

impl Server {
    /// The certificate in `path` if it still serves, a new one otherwise.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a name cannot stand in a certificate.
    pub fn open(
        authority: Arc<Authority>,
        path: impl Into<Utf8PathBuf>,
        mut names: Vec<ServerName>,
        now: UnixMillis,
    ) -> Result<Self, TlsError> {
        let path = path.into();
        names.sort();
        names.dedup();
        let issued = match usable(&path, &authority, &names, now)? {
            Some(issued) => issued,
            None => renew(&path, &authority, &names, now)?,
        };
        let current = Mutex::new(Current::from_issued(&issued, &path)?);
        Ok(Self { authority, path, names, current })
    }

    /// What to greet a new connection with.
    ///
    /// A renewal that fails is logged and the old certificate served as long as it lives.
    pub fn config(&self, now: UnixMillis) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if due(&self.authority, current.not_after_ms, now) {
            let renewed = renew(&self.path, &self.authority, &self.names, now)
                .and_then(|issued| Current::from_issued(&issued, &self.path));
            match renewed {
                Ok(renewed) => *current = renewed,
                Err(error) => tracing::warn!(path = %self.path, %error, "certificate not renewed"),
            }
        }
        current.config.clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Current {
    fn from_issued(issued: &Issued, path: &Utf8Path) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes())
            .map_err(|e| damaged(path, e))?;
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes())
            .map_err(|e| damaged(path, e))?;
        let err = |source| TlsError::Rustls { subject: path.to_string(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(err)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(err)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), not_after_ms: issued.not_after_ms })
    }
}

/// Whether a certificate that ends then should be replaced: a third of its life is left, and a new
/// one would live longer (the authority's own end bounds it).
fn due(authority: &Authority, not_after_ms: UnixMillis, now: UnixMillis) -> bool {
    not_after_ms - now < RENEW_BEFORE_MS && authority.would_end(now) > not_after_ms
}

fn usable(
    path: &Utf8Path,
    authority: &Authority,
    names: &[ServerName],
    now: UnixMillis,
) -> Result<Option<Issued>, TlsError> {
    let Some(text) = file::read(path)? else { return Ok(None) };
    // A server's certificate can always be made again: what is damaged is replaced.
    let Ok(kept) = serde_json::from_str::<Kept>(&text) else { return Ok(None) };
    let serves = kept.names == names
        && kept.authority_pem == authority.pem()
        && !due(authority, kept.issued.not_after_ms, now);
    Ok(serves.then_some(kept.issued))
}

fn renew(
    path: &Utf8Path,
    authority: &Authority,
    names: &[ServerName],
    now: UnixMillis,
) -> Result<Issued, TlsError> {
    let issued = authority.issue(names, now)?;
    let authority_pem = authority.pem().to_owned();
    let kept = Kept { names: names.to_vec(), authority_pem, issued };
    let text = serde_json::to_string_pretty(&kept).map_err(|e| damaged(path, e))?;
    file::write(path, &text, 0o600)?;
    Ok(kept.issued)
}
