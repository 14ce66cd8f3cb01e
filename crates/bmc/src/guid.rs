//! GUIDs, and the order of their bytes on the wire.

use std::fmt;

/// A GUID in the order in which people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the wire: least significant byte first (section 20.8).
    #[must_use]
    pub fn from_wire(mut bytes: [u8; 16]) -> Self {
        bytes.reverse();
        Self(bytes)
    }

    /// As the wire carries it.
    #[must_use]
    pub fn to_wire(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
