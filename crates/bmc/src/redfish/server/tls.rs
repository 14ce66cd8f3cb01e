//! The certificate of the listener: one that is given, or one made for it.

use std::{net::IpAddr, sync::Arc};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use thiserror::Error;

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate could not be made.
    #[error("cannot make a certificate for the Redfish listener")]
    Make(#[source] rcgen::Error),
    /// The certificate or its key cannot be used.
    #[error("cannot use the certificate of the Redfish listener")]
    Use(#[source] rustls::Error),
}

/// A certificate chain and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The listener's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// One that signs itself, for `names` and `addresses`: who wants to be sure pins it.
    ///
    /// # Errors
    /// [`TlsError::Make`] when a name cannot be one.
    pub fn self_signed(names: &[&str], addresses: &[IpAddr]) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, names.first().copied().unwrap_or("undercloud Redfish"));
        params.distinguished_name = name;
        for name in names {
            let name = (*name).try_into().map_err(TlsError::Make)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let key = KeyPair::generate().map_err(TlsError::Make)?;
        let certificate = params.self_signed(&key).map_err(TlsError::Make)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Self { chain: vec![certificate.der().clone()], key })
    }

    /// TLS 1.2 and 1.3, no client certificates.
    ///
    /// # Errors
    /// [`TlsError::Use`] when certificate and key do not go together.
    pub fn into_config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Use)?;
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)
            .map_err(TlsError::Use)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
