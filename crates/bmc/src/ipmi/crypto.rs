//! The primitives of the two suites: the session's keys, AES-CBC-128 with IPMI's padding. HMAC is
//! in [`crate::mac`].
//!
//! Nothing here prints a key, and every comparison of codes takes the same time whatever differs.

use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, consts::U16};

use super::suite::CipherSuite;
pub use crate::mac::Mac;

const BLOCK: usize = 16;

/// What seals the packets of one session.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    suite: CipherSuite,
    integrity: Mac,
    encryption: Mac,
}

impl SessionKeys {
    /// K1 and K2 out of the session integrity key (section 13.32).
    #[must_use]
    pub fn derive(suite: CipherSuite, session_integrity_key: &Mac) -> Self {
        let key =
            |constant: u8| Mac::new(suite, session_integrity_key.as_slice(), &[&[constant; 20]]);
        Self { suite, integrity: key(1), encryption: key(2) }
    }

    /// The suite they belong to.
    #[must_use]
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// The integrity code of a packet.
    #[must_use]
    pub fn code(&self, covered: &[u8]) -> Mac {
        Mac::new(self.suite, self.integrity.as_slice(), &[covered])
    }

    /// Appends the initialization vector and the encrypted payload (section 13.29.2).
    pub fn encrypt(&self, iv: &[u8; BLOCK], payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(iv);
        let start = out.len();
        out.extend_from_slice(payload);
        let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        out.extend((1u8..).take(pad));
        out.push(u8::try_from(pad).unwrap_or_default());
        let mut cipher =
            cbc::Encryptor::<aes::Aes128>::new(self.encryption.first().into(), iv.into());
        for block in out.get_mut(start..).unwrap_or_default().chunks_exact_mut(BLOCK) {
            if let Ok(block) = <&mut Array<u8, U16>>::try_from(block) {
                cipher.encrypt_block(block);
            }
        }
    }

    /// The payload, or `None` when the length or the padding is not what encryption makes.
    #[must_use]
    pub fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (iv, body) = bytes.split_first_chunk::<BLOCK>()?;
        if body.is_empty() || body.len() % BLOCK != 0 {
            return None;
        }
        let mut plain = body.to_vec();
        let mut cipher =
            cbc::Decryptor::<aes::Aes128>::new(self.encryption.first().into(), iv.into());
        for block in plain.chunks_exact_mut(BLOCK) {
            cipher.decrypt_block(<&mut Array<u8, U16>>::try_from(block).ok()?);
        }
        let pad = usize::from(plain.pop()?);
        let end = plain.len().checked_sub(pad)?;
        if pad >= BLOCK || !plain.get(end..)?.iter().copied().eq((1u8..).take(pad)) {
            return None;
        }
        plain.truncate(end);
        Some(plain)
    }
}

/// Known answers of both hashes and the cipher, for Get Self Test Results.
#[must_use]
pub fn self_test() -> bool {
    // RFC 2202 and RFC 4231, test case 2.
    let sha1 = Mac::new(CipherSuite::Suite3, b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    let sha256 = Mac::new(CipherSuite::Suite17, b"Jefe", &[b"what do ya want for nothing?"]);
    let keys = SessionKeys::derive(CipherSuite::Suite3, &sha1);
    let mut sealed = Vec::new();
    keys.encrypt(&[7; BLOCK], b"known", &mut sealed);
    sha1.as_slice().starts_with(&[0xef, 0xfc, 0xdf, 0x6a])
        && sha256.as_slice().starts_with(&[0x5b, 0xdc, 0xc1, 0x46])
        && keys.decrypt(&sealed).as_deref() == Some(b"known")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(suite: CipherSuite) -> SessionKeys {
        SessionKeys::derive(suite, &Mac::new(suite, b"key", &[b"sik"]))
    }

    #[test]
    fn known_answers() {
        assert!(self_test());
        let mac = Mac::new(CipherSuite::Suite3, &[0x0b; 20], &[b"Hi There"]);
        let expected = [
            0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37,
            0x8c, 0x8e, 0xf1, 0x46, 0xbe, 0x00,
        ];
        assert_eq!(mac.as_slice(), expected);
        assert!(mac.matches(&expected[..12], 12));
        assert!(!mac.matches(&expected[..11], 12));
        assert!(!mac.matches(&[0; 12], 12));
    }

    #[test]
    fn every_length_comes_back() {
        for suite in CipherSuite::PREFERRED {
            let keys = keys(suite);
            for length in 0..100 {
                let payload = vec![0xa5; length];
                let mut sealed = Vec::new();
                keys.encrypt(&[9; 16], &payload, &mut sealed);
                assert_eq!(sealed.len() % 16, 0);
                assert_eq!(keys.decrypt(&sealed), Some(payload));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn decrypt_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = keys(CipherSuite::Suite17).decrypt(&bytes);
        }
    }
}
