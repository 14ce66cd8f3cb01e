//! A BMC's password: 128 random bits in the twenty characters that IPMI 2.0 has room for.

use anyhow::{Context as _, Result};
use undercloud_model::Secret;

/// Z85 (ZeroMQ RFC 32): 85 characters, the fewest of which twenty carry 128 bits. None of them is
/// white space, a quote or a backslash: between single quotes a shell takes any of it as it is.
const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// A new one.
pub(super) fn generate() -> Result<Secret> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the kernel gives no random bytes")?;
    Ok(Secret::new(encode(bytes)))
}

/// Four bytes make five characters.
fn encode(bytes: [u8; 16]) -> String {
    let character = |value: u32, place: u32| {
        let digit = value / 85u32.pow(place) % 85;
        ALPHABET.get(digit as usize).copied().map_or('0', char::from)
    };
    let (words, _) = bytes.as_chunks::<4>();
    let values = words.iter().map(|word| u32::from_be_bytes(*word));
    values.flat_map(|value| (0..5).rev().map(move |place| character(value, place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_z85() {
        // The test vector of the RFC, twice.
        let half = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
        let whole: Vec<u8> = [half, half].concat();
        assert_eq!(encode(whole.try_into().unwrap()), "HelloWorldHelloWorld");
    }

    #[test]
    fn passwords_fit_ipmi_and_differ() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_eq!(a.expose().len(), 20);
        assert_ne!(a, b);
        assert!(!a.expose().contains(['\'', '"', '\\', ' ']));
    }
}
