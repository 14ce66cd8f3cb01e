//! The RMCP+ session header (section 13.6), both directions. Twelve bytes, then the payload.
//!
//! OEM payloads, which add six bytes here, are refused: nobody on this wire sends them.

use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "RMCP+ session header";
/// The authentication type that says "RMCP+".
pub const FORMAT_RMCP_PLUS: u8 = 0x06;

/// What the payload is (table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// Serial over LAN.
    Sol,
    /// Open Session Request.
    OpenSessionRequest,
    /// Open Session Response.
    OpenSessionResponse,
    /// RAKP message 1.
    Rakp1,
    /// RAKP message 2.
    Rakp2,
    /// RAKP message 3.
    Rakp3,
    /// RAKP message 4.
    Rakp4,
}

impl PayloadType {
    const ALL: [(u8, Self); 8] = [
        (0x00, Self::Ipmi),
        (0x01, Self::Sol),
        (0x10, Self::OpenSessionRequest),
        (0x11, Self::OpenSessionResponse),
        (0x12, Self::Rakp1),
        (0x13, Self::Rakp2),
        (0x14, Self::Rakp3),
        (0x15, Self::Rakp4),
    ];

    fn bits(self) -> u8 {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or(0, |(bits, _)| bits)
    }
}

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionHeader {
    /// What the payload is.
    pub payload_type: PayloadType,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether a trailer with an integrity code follows.
    pub authenticated: bool,
    /// The receiver's id of the session; zero outside of one.
    pub session_id: u32,
    /// The sender's count of packets in this session; zero outside of one.
    pub sequence: u32,
    /// Length of what follows, without the trailer.
    pub payload_bytes: u16,
}

impl SessionHeader {
    /// Its length.
    pub const BYTES: usize = 12;
}

impl Decode for SessionHeader {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let format = reader.u8()?;
        if format != FORMAT_RMCP_PLUS {
            return Err(reader.reserved("authentication type", format));
        }
        let kind = reader.u8()?;
        let payload_type = PayloadType::ALL
            .into_iter()
            .find(|(bits, _)| *bits == kind & 0x3f)
            .map(|(_, kind)| kind)
            .ok_or_else(|| reader.reserved("payload type", kind))?;
        let header = Self {
            payload_type,
            encrypted: kind & 0x80 != 0,
            authenticated: kind & 0x40 != 0,
            session_id: reader.u32()?,
            sequence: reader.u32()?,
            payload_bytes: reader.u16()?,
        };
        reader.finish()?;
        Ok(header)
    }
}

impl Encode for SessionHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        let encrypted = if self.encrypted { 0x80 } else { 0 };
        let authenticated = if self.authenticated { 0x40 } else { 0 };
        out.extend([FORMAT_RMCP_PLUS, self.payload_type.bits() | encrypted | authenticated]);
        out.extend(self.session_id.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.payload_bytes.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<SessionHeader> {
    vec![
        (
            "ipmitool 1.8.19, Open Session Request",
            &[0x06, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x00],
            SessionHeader {
                payload_type: PayloadType::OpenSessionRequest,
                encrypted: false,
                authenticated: false,
                session_id: 0,
                sequence: 0,
                payload_bytes: 32,
            },
        ),
        (
            "specification, sealed IPMI message",
            &[0x06, 0xc0, 0x78, 0x56, 0x34, 0x12, 3, 0, 0, 0, 0x20, 0x00],
            SessionHeader {
                payload_type: PayloadType::Ipmi,
                encrypted: true,
                authenticated: true,
                session_id: 0x1234_5678,
                sequence: 3,
                payload_bytes: 32,
            },
        ),
    ]
}
