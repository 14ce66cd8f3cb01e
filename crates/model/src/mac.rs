//! An Ethernet address (IEEE 802, EUI-48), printed as Linux and OpenStack print it:
//! `52:54:00:12:34:56`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

/// The text is no usable Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address of one interface: write it as 52:54:00:12:34:56")]
pub struct ParseMacError(String);

impl MacAddr {
    /// The address whose bytes are `bytes`, in the order they are sent.
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes, in the order they are sent.
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// The twelve digits joined by `-`, as iPXE's `${mac:hexhyp}` and file names have them.
    pub fn hyphenated(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Accepts `:` or `-` between the pairs, in either case. Refuses group addresses and zero:
    /// no interface has them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let err = || ParseMacError(text.chars().take(40).collect());
        let mut bytes = [0u8; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(err)?;
            if pair.len() != 2 || !pair.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(err());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| err())?;
        }
        if pairs.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(err());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses(mut bytes: [u8; 6]) {
            bytes[0] &= 0xfe;
            bytes[5] |= 1;
            let mac = MacAddr::from_bytes(bytes);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>().unwrap(), mac);
            prop_assert_eq!(mac.hyphenated().to_uppercase().parse::<MacAddr>().unwrap(), mac);
        }

        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<MacAddr>();
        }
    }

    #[test]
    fn what_no_interface_has_is_refused() {
        for bad in [
            "",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:+6",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
