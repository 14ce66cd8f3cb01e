//! GUIDs as the partition table stores them: the first three fields little-endian (UEFI 2.10,
//! appendix A).

use std::{fmt, str::FromStr};

/// A GUID, in the table's byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Guid([u8; 16]);

/// The text is no GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a GUID")]
pub struct ParseGuidError(String);

/// Where the n-th byte of the text goes.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// All zeros: an unused entry.
    pub const ZERO: Self = Self([0; 16]);

    /// The GUID whose bytes on the disk are `bytes`.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes on the disk.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0
    }

    /// A GUID made of the first 16 bytes of a digest, marked as random (version 4, RFC 9562).
    /// The same digest gives the same GUID.
    pub fn from_digest(digest: &undercloud_model::Digest) -> Self {
        let mut text_order = [0u8; 16];
        text_order.copy_from_slice(&digest.as_bytes()[..16]);
        text_order[6] = text_order[6] & 0x0f | 0x40;
        text_order[8] = text_order[8] & 0x3f | 0x80;
        let mut bytes = [0u8; 16];
        for (from, to) in ORDER.into_iter().enumerate() {
            bytes[to] = text_order[from];
        }
        Self(bytes)
    }

    /// For constants; anything but hex digits and hyphens counts as 0.
    pub(super) const fn from_text(text: &[u8; 36]) -> Self {
        let mut bytes = [0u8; 16];
        let (mut at, mut n) = (0, 0);
        while at + 1 < text.len() {
            if text[at] == b'-' {
                at += 1;
                continue;
            }
            bytes[ORDER[n]] = digit(text[at]) << 4 | digit(text[at + 1]);
            n += 1;
            at += 2;
        }
        Self(bytes)
    }
}

const fn digit(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        b'a'..=b'f' => c - b'a' + 10,
        b'A'..=b'F' => c - b'A' + 10,
        _ => 0,
    }
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let err = || ParseGuidError(text.chars().take(40).collect());
        let bytes: &[u8; 36] = text.as_bytes().try_into().map_err(|_| err())?;
        let good = bytes.iter().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => *c == b'-',
            _ => c.is_ascii_hexdigit(),
        });
        if good { Ok(Self::from_text(bytes)) } else { Err(err()) }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, from) in ORDER.into_iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[from])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
