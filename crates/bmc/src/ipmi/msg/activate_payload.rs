//! Activate Payload (section 24.1), for Serial over LAN.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// Completion codes of this command.
pub mod refusal {
    use crate::ipmi::completion::Completion;

    /// Active already, in this session or in another.
    pub const ALREADY_ACTIVE: Completion = Completion(0x80);
    /// The payload type is disabled.
    pub const DISABLED: Completion = Completion(0x81);
    /// No more payloads can be active.
    pub const LIMIT_REACHED: Completion = Completion(0x82);
    /// Only with encryption.
    pub const ENCRYPTION_NEEDED: Completion = Completion(0x84);
}

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Payload type (6 bits).
    pub payload: u8,
    /// Which instance of it (4 bits), from 1.
    pub instance: u8,
    /// For Serial over LAN, the first byte: bit 7 encrypted, 6 authenticated, 5 test mode, 3 and
    /// 2 what serial alerts do, 1 no clear-to-send until the console sets it.
    pub auxiliary: [u8; 4],
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// For Serial over LAN, bit 0 of the first byte: test mode is on.
    pub auxiliary: [u8; 4],
    /// Longest payload that the controller takes.
    pub inbound_bytes: u16,
    /// Longest payload that the controller sends.
    pub outbound_bytes: u16,
    /// UDP port of the payload. Several vendors swap its bytes.
    pub port: u16,
    /// VLAN of the payload; 0xffff for none.
    pub vlan: u16,
}

impl Command for Request {
    const NAME: &'static str = "Activate Payload";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x48;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Activate Payload request", bytes);
        let [payload, instance] = reader.array()?;
        let auxiliary = reader.array()?;
        reader.finish()?;
        Ok(Self { payload: payload & 0x3f, instance: instance & 0x0f, auxiliary })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.payload & 0x3f, self.instance & 0x0f]);
        out.extend(self.auxiliary);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Activate Payload response", bytes);
        Ok(Self {
            auxiliary: reader.array()?,
            inbound_bytes: reader.u16()?,
            outbound_bytes: reader.u16()?,
            port: reader.u16()?,
            vlan: reader.u16()?,
        })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.auxiliary);
        for field in [self.inbound_bytes, self.outbound_bytes, self.port, self.vlan] {
            out.extend(field.to_le_bytes());
        }
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    let request = Request { payload: 1, instance: 1, auxiliary: [0xc0, 0, 0, 0] };
    vec![("encrypted and authenticated", &[0x01, 0x01, 0xc0, 0, 0, 0], request)]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "on port 623",
        &[0, 0, 0, 0, 0xff, 0, 0xff, 0, 0x6f, 0x02, 0xff, 0xff],
        Response {
            auxiliary: [0; 4],
            inbound_bytes: 255,
            outbound_bytes: 255,
            port: 623,
            vlan: 0xffff,
        },
    )]
}
