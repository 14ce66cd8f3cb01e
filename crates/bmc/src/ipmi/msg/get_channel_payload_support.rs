//! Get Channel Payload Support (section 24.8): which payload types a channel carries.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Bit n: payload type n, of the standard types (0 to 15).
    pub standard: u16,
    /// Bit n: payload type 0x10 + n, of those that open sessions.
    pub session: u16,
    /// Bit n: payload type 0x20 + n, of the vendor's.
    pub vendor: u16,
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Payload Support";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x4e;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Payload Support request", bytes);
        let channel = reader.u8()? & 0x0f;
        reader.finish()?;
        Ok(Self { channel })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.channel & 0x0f);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Payload Support response", bytes);
        let (standard, session, vendor) = (reader.u16()?, reader.u16()?, reader.u16()?);
        reader.take(2)?;
        Ok(Self { standard, session, vendor })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        for field in [self.standard, self.session, self.vendor, 0] {
            out.extend(field.to_le_bytes());
        }
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("this channel", &[0x0e], Request { channel: 0x0e })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "IPMI, Serial over LAN, RMCP+ and RAKP",
        &[0x03, 0, 0x3f, 0, 0, 0, 0, 0],
        Response { standard: 0x03, session: 0x3f, vendor: 0 },
    )]
}
