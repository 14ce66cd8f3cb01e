//! Whom to believe: authorities, one certificate, or anybody.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = hex::FromHexError;

    /// Hexadecimal, with or without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.replace(':', ""), &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Which certificates are good.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those that an authority signed, for the name that was asked for.
    Roots(Arc<RootCertStore>),
    /// This one, whatever it says of itself: most controllers sign their own.
    Pinned(Fingerprint),
    /// Any. Who listens in between learns the password.
    Anybody,
}

impl Trust {
    /// Those that these authorities signed (PEM, any number in each text); what is no certificate
    /// is passed over. `None` without any.
    pub fn authorities<'p>(pems: impl IntoIterator<Item = &'p [u8]>) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        for pem in pems {
            let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
            roots.add_parsable_certificates(found);
        }
        (!roots.is_empty()).then(|| Self::Roots(Arc::new(roots)))
    }

    pub(super) fn config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let pin = match self {
            Self::Roots(roots) => {
                return Ok(builder.with_root_certificates(roots.clone()).with_no_client_auth());
            }
            Self::Pinned(fingerprint) => Some(*fingerprint),
            Self::Anybody => None,
        };
        let judge = move |shown: &CertificateDer<'_>| match pin {
            Some(pin) if !bool::from(pin.0.ct_eq(&Fingerprint::of(shown).0)) => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Some(_) | None => Ok(()),
        };
        let verifier = Arc::new(Judged { judge, provider });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Looks at the certificate alone; the handshake still proves that its key is there.
pub(crate) struct Judged<F> {
    /// Says whether it is good.
    pub(crate) judge: F,
    /// Checks the handshake.
    pub(crate) provider: Arc<CryptoProvider>,
}

impl<F> fmt::Debug for Judged<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}

impl<F> ServerCertVerifier for Judged<F>
where
    F: Fn(&CertificateDer<'_>) -> Result<(), Error> + Send + Sync,
{
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.judge)(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
