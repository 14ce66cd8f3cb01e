//! Get Channel Payload Version (section 24.9).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// Completion code of this command: the channel does not carry this type.
pub const NOT_AVAILABLE: crate::ipmi::completion::Completion =
    crate::ipmi::completion::Completion(0x80);

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
    /// Payload type (6 bits).
    pub payload: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Major version (4 bits).
    pub major: u8,
    /// Minor version (4 bits).
    pub minor: u8,
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Payload Version";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x4f;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Payload Version request", bytes);
        let [channel, payload] = reader.array()?;
        reader.finish()?;
        Ok(Self { channel: channel & 0x0f, payload: payload & 0x3f })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.channel & 0x0f, self.payload & 0x3f]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let version = Reader::new("Get Channel Payload Version response", bytes).u8()?;
        Ok(Self { major: version >> 4, minor: version & 0x0f })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.major << 4 | self.minor & 0x0f);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("Serial over LAN", &[0x0e, 0x01], Request { channel: 0x0e, payload: 1 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("1.0", &[0x10], Response { major: 1, minor: 0 })]
}
