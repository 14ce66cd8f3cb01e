//! The session header of IPMI 1.5 (section 13.6), both directions.
//!
//! Sessions of IPMI 1.5 are refused; the header lives on because clients ask for the channel's
//! capabilities in it before they know which version to speak.

use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "IPMI 1.5 session header";

/// The header with its payload length, without the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionHeaderV15 {
    /// How the packet is authenticated: 0 none, 1 MD2, 2 MD5, 4 password.
    pub authentication: u8,
    /// Zero outside of a session.
    pub sequence: u32,
    /// Zero outside of a session.
    pub session_id: u32,
    /// Authentication code, unless `authentication` is none.
    pub code: Option<[u8; 16]>,
    /// Length of the payload.
    pub payload_bytes: u8,
}

impl SessionHeaderV15 {
    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if self.code.is_some() { 26 } else { 10 }
    }

    /// The header of a message outside of a session.
    #[must_use]
    pub fn sessionless(payload_bytes: u8) -> Self {
        Self { authentication: 0, sequence: 0, session_id: 0, code: None, payload_bytes }
    }
}

impl Decode for SessionHeaderV15 {
    /// Reads the header at the start of `bytes`; the payload follows.
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let authentication = reader.u8()?;
        if !matches!(authentication, 0 | 1 | 2 | 4 | 5) {
            return Err(reader.reserved("authentication type", authentication));
        }
        let sequence = reader.u32()?;
        let session_id = reader.u32()?;
        let code = if authentication == 0 { None } else { Some(reader.array()?) };
        Ok(Self { authentication, sequence, session_id, code, payload_bytes: reader.u8()? })
    }
}

impl Encode for SessionHeaderV15 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.authentication);
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.session_id.to_le_bytes());
        out.extend(self.code.iter().flatten());
        out.push(self.payload_bytes);
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<SessionHeaderV15> {
    vec![(
        "ipmitool 1.8.19, Get Channel Authentication Capabilities",
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        SessionHeaderV15::sessionless(9),
    )]
}
