//! Random bytes for a value that must not read the operating system: HMAC-SHA256 in counter
//! mode over a seed that the shell draws once.

use super::{crypto::Mac, suite::CipherSuite};

/// A generator whose output nobody can tell without its seed. Tests pass a fixed seed.
#[derive(Debug)]
pub struct Random {
    seed: Mac,
    counter: u64,
}

impl Random {
    /// Starts from `seed`.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self { seed: Mac::new(CipherSuite::Suite17, seed, &[b"undercloud bmc random"]), counter: 0 }
    }

    /// Starts from the operating system's random bytes.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn from_system() -> Result<Self, getrandom::Error> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::new(&seed))
    }

    /// Sixteen bytes.
    pub fn block(&mut self) -> [u8; 16] {
        self.counter = self.counter.wrapping_add(1);
        let counter = self.counter.to_le_bytes();
        let mac = Mac::new(CipherSuite::Suite17, self.seed.as_slice(), &[&counter]);
        let mut block = [0; 16];
        block.copy_from_slice(mac.first());
        block
    }

    /// A number that is not zero.
    pub fn id(&mut self) -> u32 {
        loop {
            let [a, b, c, d, ..] = self.block();
            let id = u32::from_le_bytes([a, b, c, d]);
            if id != 0 {
                return id;
            }
        }
    }
}
