//! The certificate authority of one state directory: ECDSA P-256, ten years.

use std::time::Duration;

use camino::Utf8Path;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use undercloud_model::{Secret, UnixMillis, expose_on_the_wire};

use super::{
    ServerName,
    file::{self, TlsError, damaged},
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Life of the authority.
const AUTHORITY_LIFE_MS: i64 = 10 * 365 * DAY_MS;

/// Life of what it issues, at most to its own end.
const ISSUED_LIFE_MS: i64 = 800 * DAY_MS;

/// Certificates begin so long before they are made: machines' clocks are wrong.
const BACKDATE_MS: i64 = 2 * DAY_MS;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    common_name: String,
    not_after_ms: UnixMillis,
    certificate_pem: String,
    #[serde(serialize_with = "expose_on_the_wire")]
    key_pem: Secret,
}

/// The certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    kept: Kept,
}

/// A certificate with its key, as PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate alone; the authority's follows nowhere, clients have it.
    pub certificate_pem: String,
    /// Its private key (PKCS #8).
    #[serde(serialize_with = "expose_on_the_wire")]
    pub key_pem: Secret,
    /// When it ends.
    pub not_after_ms: UnixMillis,
}

impl Authority {
    /// Reads the authority of this directory, or makes it. Writes `ca.key` (0600: certificate and
    /// key) and `ca.pem` (0644: the certificate for others to trust).
    ///
    /// # Errors
    /// When the files cannot be read or written, or are not ours.
    pub fn open(dir: &Utf8Path, now: UnixMillis) -> Result<Self, TlsError> {
        let path = dir.join("ca.key");
        let authority = match file::read(&path)? {
            Some(text) => {
                let kept = serde_json::from_str(&text).map_err(|e| damaged(&path, e))?;
                Self::from_kept(kept).map_err(|e| damaged(&path, e))?
            }
            None => {
                let kept = make(now)?;
                // The text holds the key; it is written nowhere else.
                let text = serde_json::to_string_pretty(&kept).map_err(|e| damaged(&path, e))?;
                file::write(&path, &text, 0o600)?;
                Self::from_kept(kept).map_err(|e| damaged(&path, e))?
            }
        };
        let public = dir.join("ca.pem");
        if file::read(&public)?.as_deref() != Some(authority.pem()) {
            file::write(&public, authority.pem(), 0o644)?;
        }
        Ok(authority)
    }

    fn from_kept(kept: Kept) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(kept.key_pem.expose())?;
        let issuer = Issuer::new(authority_params(&kept.common_name), key);
        Ok(Self { issuer, kept })
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.kept.certificate_pem
    }

    /// When a certificate made now would end.
    pub fn would_end(&self, now: UnixMillis) -> UnixMillis {
        (now + ISSUED_LIFE_MS).min(self.kept.not_after_ms)
    }

    /// Makes a certificate for a server that is reached by these names.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, names: &[ServerName], now: UnixMillis) -> Result<Issued, TlsError> {
        self.sign(names, vec![ExtendedKeyUsagePurpose::ServerAuth], now)
    }

    /// Makes a certificate for a machine's services, which prove themselves to each other by it:
    /// good for a server and for a client (OVN's databases want both).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_peer(&self, names: &[ServerName], now: UnixMillis) -> Result<Issued, TlsError> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        self.sign(names, vec![ServerAuth, ClientAuth], now)
    }

    fn sign(
        &self,
        names: &[ServerName],
        usages: Vec<ExtendedKeyUsagePurpose>,
        now: UnixMillis,
    ) -> Result<Issued, TlsError> {
        let subject = names.first().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let err = |source| TlsError::Issue { subject: subject.clone(), source };
        let not_after_ms = self.would_end(now);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.as_str());
        params.subject_alt_names =
            names.iter().map(ServerName::to_san).collect::<Result<_, _>>().map_err(err)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, not_after_ms);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(err)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(err)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: Secret::new(key.serialize_pem()),
            not_after_ms,
        })
    }
}

fn set_validity(params: &mut CertificateParams, now: UnixMillis, not_after_ms: UnixMillis) {
    let since_epoch = |ms: UnixMillis| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now - BACKDATE_MS);
    params.not_after = epoch + since_epoch(not_after_ms);
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::Sha256;
    params
}

fn make(now: UnixMillis) -> Result<Kept, TlsError> {
    let err = |source| TlsError::Issue { subject: "the authority".to_owned(), source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(err)?;
    // Two authorities on one host must not share a name: a trust store finds issuers by name.
    let fingerprint = hex::encode(&Sha256::digest(key.public_key_raw())[..4]);
    let common_name = format!("undercloud CA {fingerprint}");
    let not_after_ms = now + AUTHORITY_LIFE_MS;
    let mut params = authority_params(&common_name);
    set_validity(&mut params, now, not_after_ms);
    let certificate_pem = params.self_signed(&key).map_err(err)?.pem();
    Ok(Kept {
        common_name,
        not_after_ms,
        certificate_pem,
        key_pem: Secret::new(key.serialize_pem()),
    })
}
