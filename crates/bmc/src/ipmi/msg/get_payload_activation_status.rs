//! Get Payload Activation Status (section 24.4).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Payload type (6 bits).
    pub payload: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// How many instances can be active at once (4 bits).
    pub capacity: u8,
    /// Bit n: instance n + 1 is active.
    pub active: u16,
}

impl Command for Request {
    const NAME: &'static str = "Get Payload Activation Status";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x4a;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Payload Activation Status request", bytes);
        let payload = reader.u8()? & 0x3f;
        reader.finish()?;
        Ok(Self { payload })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.payload & 0x3f);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Payload Activation Status response", bytes);
        Ok(Self { capacity: reader.u8()? & 0x0f, active: reader.u16()? })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.capacity & 0x0f);
        out.extend(self.active.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("Serial over LAN", &[0x01], Request { payload: 1 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("one of one", &[0x01, 0x01, 0x00], Response { capacity: 1, active: 1 })]
}
