//! Reading and writing the fields of a message.
//!
//! A decoder never indexes a slice: it asks a [`Reader`], which answers with the field or with
//! the message's name and how many bytes were missing. IPMI is little-endian throughout.

use thiserror::Error;

/// Why bytes are not the message they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ends too early.
    #[error("{message}: {got} bytes where {need} are needed")]
    Short {
        /// Name of the message.
        message: &'static str,
        /// Bytes needed, counted from the start of the message.
        need: usize,
        /// Bytes there are.
        got: usize,
    },
    /// The message goes on after its last field.
    #[error("{message}: {extra} bytes after its end")]
    Long {
        /// Name of the message.
        message: &'static str,
        /// Bytes after the last field.
        extra: usize,
    },
    /// A field holds a value that the specification reserves.
    #[error("{message}: field {field} has the reserved value {value:#04x}")]
    Reserved {
        /// Name of the message.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
        /// The value.
        value: u32,
    },
    /// A checksum does not match.
    #[error("{message}: wrong checksum")]
    Checksum {
        /// Name of the message.
        message: &'static str,
    },
}

/// Bytes to a value.
pub trait Decode: Sized {
    /// Reads the value from all of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] names the message and the field that is missing or wrong.
    fn decode(bytes: &[u8]) -> Result<Self, WireError>;
}

/// A value to bytes.
pub trait Encode {
    /// Appends the value to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The value alone, as bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.encode(&mut out);
        out
    }
}

/// A command of IPMI: where it lives, and what its answer carries after the completion code.
pub trait Command: Encode + Decode {
    /// For logs and errors.
    const NAME: &'static str;
    /// Network function of the request (even).
    const NETFN: u8;
    /// Command number.
    const CODE: u8;
    /// The data after a completion code of zero.
    type Response: Encode + Decode;
}

/// A position in a message that cannot run past its end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    message: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; `message` is named in errors.
    #[must_use]
    pub fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, bytes, at: 0 }
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let short = WireError::Short {
            message: self.message,
            need: self.at.saturating_add(length),
            got: self.bytes.len(),
        };
        let end = self.at.checked_add(length).ok_or(short)?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two bytes, least significant first.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, least significant first.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// Whether the message ends here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Ends the message; for requests, where a byte too many is an error of its own (0xC7).
    ///
    /// # Errors
    /// [`WireError::Long`].
    pub fn finish(self) -> Result<(), WireError> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            extra => Err(WireError::Long { message: self.message, extra }),
        }
    }

    /// The error for a field whose value is reserved.
    pub fn reserved(&self, field: &'static str, value: impl Into<u32>) -> WireError {
        WireError::Reserved { message: self.message, field, value: value.into() }
    }
}

/// The checksum of IPMB framing: with it, the bytes add up to zero (section 13.8).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// A message without data.
macro_rules! empty_message {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name;

        impl $crate::ipmi::wire::Decode for $name {
            fn decode(bytes: &[u8]) -> Result<Self, $crate::ipmi::wire::WireError> {
                $crate::ipmi::wire::Reader::new($text, bytes).finish()?;
                Ok(Self)
            }
        }

        impl $crate::ipmi::wire::Encode for $name {
            fn encode(&self, _out: &mut Vec<u8>) {}
        }
    };
}
pub(crate) use empty_message;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_names_what_is_missing() {
        let mut reader = Reader::new("thing", &[1, 2, 3]);
        assert_eq!(reader.u16(), Ok(0x0201));
        assert_eq!(reader.u32(), Err(WireError::Short { message: "thing", need: 6, got: 3 }));
        assert_eq!(reader.take(usize::MAX).map(<[u8]>::len).ok(), None);
        assert_eq!(reader.finish(), Err(WireError::Long { message: "thing", extra: 1 }));
    }

    #[test]
    fn checksum_brings_the_sum_to_zero() {
        assert_eq!(checksum(&[0x20, 0x18]), 0xc8);
        assert_eq!(checksum(&[]), 0);
    }
}
