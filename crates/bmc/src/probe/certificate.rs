//! What is wrong with the certificate that a controller shows by HTTPS.
//!
//! Nothing is sent after the handshake. The certificate is looked at as its own authority: whoever
//! passes that has signed it himself.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::Finding;
use crate::redfish::link::{Fingerprint, Judged};

/// A port that is open answers within this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) fingerprint: Fingerprint,
    pub(super) self_signed: bool,
    /// Days since it ended.
    pub(super) expired_days: Option<u64>,
    pub(super) not_yet_valid: bool,
}

impl Seen {
    pub(super) fn findings(self) -> Vec<Finding> {
        let expired = self.expired_days.map(|days| Finding::CertificateExpired { days });
        let early = self.not_yet_valid.then_some(Finding::CertificateNotYetValid);
        let own = self.self_signed.then_some(Finding::CertificateSelfSigned);
        [expired, early, own].into_iter().flatten().collect()
    }
}

/// Connects and looks; `None` when nobody listens.
pub(super) async fn look(address: SocketAddr, now: u64) -> Result<Option<Seen>, io::Error> {
    let connected = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(_)) | Err(_) => return Ok(None),
    };
    let provider = Arc::new(ring::default_provider());
    let shown = Arc::new(Mutex::new(None));
    let kept = shown.clone();
    // Takes every certificate, and keeps it.
    let judge = move |certificate: &CertificateDer<'_>| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(certificate.clone().into_owned());
        Ok(())
    };
    let verifier = Arc::new(Judged { judge, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::from(address.ip());
    let connector = TlsConnector::from(Arc::new(config));
    let handshake = timeout(PATIENCE, connector.connect(name, connected)).await;
    // A handshake may fail after the certificate was shown: it was seen all the same.
    let certificate = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (certificate, handshake) {
        (Some(certificate), _) => Ok(Some(examine(&certificate, &provider, now))),
        (None, Ok(Err(error))) => Err(error),
        (None, _) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Looks at a certificate as if it were its own authority.
fn examine(
    certificate: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
    now: u64,
) -> Seen {
    let fingerprint = Fingerprint::of(certificate);
    let mut seen =
        Seen { fingerprint, self_signed: false, expired_days: None, not_yet_valid: false };
    let mut roots = RootCertStore::empty();
    if roots.add(certificate.clone()).is_err() {
        return seen;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let Ok(verifier) = verifier.build() else { return seen };
    // The name is no matter here: no certificate of a controller has the one that is asked for.
    let Ok(name) = ServerName::try_from("name.invalid") else { return seen };
    let at = |time: u64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        verifier.verify_server_cert(certificate, &[], &name, &[], time).err()
    };
    let mut error = at(now);
    match &error {
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            seen.expired_days = Some(now.saturating_sub(not_after.as_secs()) / 86_400);
            error = at(not_after.as_secs());
        }
        Some(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        })) => {
            seen.not_yet_valid = true;
            error = at(not_before.as_secs());
        }
        _ => {}
    }
    // Whatever comes after the search for an issuer: he was found.
    seen.self_signed = match error {
        None => true,
        Some(Error::InvalidCertificate(error)) => {
            matches!(
                error,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ) || is_authority(&error)
        }
        Some(_) => false,
    };
    seen
}

/// Many controllers show a certificate that calls itself an authority: such a one was not signed
/// by another.
fn is_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// The start of 2026.
    const NOW: u64 = 1_767_225_600;

    fn params(from: i32, to: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["bmc.example".to_owned()]).expect("names");
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params
    }

    fn of_itself(params: CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("key");
        params.self_signed(&key).expect("certificate").der().clone()
    }

    fn seen(certificate: &CertificateDer<'static>) -> Seen {
        examine(certificate, &Arc::new(ring::default_provider()), NOW)
    }

    #[test]
    fn certificates_with_each_fault_and_with_both() {
        let good = seen(&of_itself(params(2020, 2040)));
        assert_eq!(good.findings(), [Finding::CertificateSelfSigned]);
        let old = seen(&of_itself(params(2015, 2025)));
        let expired = Finding::CertificateExpired { days: 365 };
        assert_eq!(old.findings(), [expired, Finding::CertificateSelfSigned]);
        let early = seen(&of_itself(params(2030, 2040)));
        let findings = [Finding::CertificateNotYetValid, Finding::CertificateSelfSigned];
        assert_eq!(early.findings(), findings);
        let mut authority = params(2020, 2040);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(seen(&of_itself(authority)).findings(), [Finding::CertificateSelfSigned]);
    }

    #[test]
    fn a_certificate_of_an_authority_is_not_signed_by_itself() {
        let mut authority = params(2020, 2040);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let issuer = Issuer::new(authority, key);
        let leaf = |from, to| {
            let key = KeyPair::generate().expect("key");
            let mut params = params(from, to);
            params.distinguished_name.push(rcgen::DnType::CommonName, "a BMC");
            params.signed_by(&key, &issuer).expect("certificate").der().clone()
        };
        assert_eq!(seen(&leaf(2020, 2040)).findings(), []);
        let expired = Finding::CertificateExpired { days: 365 };
        assert_eq!(seen(&leaf(2020, 2025)).findings(), [expired]);
    }
}
