//! HMAC, for the sessions of IPMI and for what must be recognized without being kept.
//!
//! Nothing here prints a key, and every comparison of codes takes the same time whatever differs.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const BLOCK: usize = 16;
const MAC_BYTES_MAX: usize = 32;

/// The hash in an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Of cipher suite 3.
    Sha1,
    /// Of cipher suite 17, and of all that is not IPMI.
    Sha256,
}

/// An HMAC, also where it serves as a key.
#[derive(Clone)]
pub struct Mac {
    bytes: [u8; MAC_BYTES_MAX],
    length: usize,
}

impl Mac {
    /// HMAC over all `parts`, one after the other.
    #[must_use]
    pub fn new(hash: impl Into<Hash>, key: &[u8], parts: &[&[u8]]) -> Self {
        fn run<M: KeyInit + hmac::Mac>(key: &[u8], parts: &[&[u8]]) -> Mac {
            let mut bytes = [0; MAC_BYTES_MAX];
            let mut length = 0;
            // HMAC takes a key of any length, so there is no error to report.
            if let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) {
                for part in parts {
                    mac.update(part);
                }
                let code = mac.finalize().into_bytes();
                for (to, from) in bytes.iter_mut().zip(&code) {
                    *to = *from;
                    length += 1;
                }
            }
            Mac { bytes, length }
        }
        #[cfg(test)]
        count::add();
        match hash.into() {
            Hash::Sha1 => run::<Hmac<Sha1>>(key, parts),
            Hash::Sha256 => run::<Hmac<Sha256>>(key, parts),
        }
    }

    /// All of it.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Its first sixteen bytes, all that AES-128 takes.
    #[must_use]
    pub fn first(&self) -> &[u8; BLOCK] {
        self.bytes.first_chunk().unwrap_or(&[0; BLOCK])
    }

    /// Its first `length` bytes.
    #[must_use]
    pub fn truncated(&self, length: usize) -> &[u8] {
        self.as_slice().get(..length).unwrap_or_default()
    }

    /// Whether `code` is its first `length` bytes, in constant time.
    #[must_use]
    pub fn matches(&self, code: &[u8], length: usize) -> bool {
        code.len() == length && self.truncated(length).ct_eq(code).into()
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({} bytes)", self.length)
    }
}

/// How many were made by this thread: what an unknown user costs is compared by it.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });

    pub(super) fn add() {
        COUNT.set(COUNT.get() + 1);
    }

    pub(crate) fn get() -> u64 {
        COUNT.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", Mac::new(Hash::Sha1, b"k", &[])), "Mac(20 bytes)");
    }
}
