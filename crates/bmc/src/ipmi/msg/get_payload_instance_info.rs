//! Get Payload Instance Info (section 24.5).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Payload type (6 bits).
    pub payload: u8,
    /// Which instance of it (4 bits), from 1.
    pub instance: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The controller's id of the session that activated it; 0 for none.
    pub session_id: u32,
    /// For Serial over LAN, the first byte is the number of the serial port.
    pub details: [u8; 8],
}

impl Command for Request {
    const NAME: &'static str = "Get Payload Instance Info";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x4b;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Payload Instance Info request", bytes);
        let [payload, instance] = reader.array()?;
        reader.finish()?;
        Ok(Self { payload: payload & 0x3f, instance: instance & 0x0f })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.payload & 0x3f, self.instance & 0x0f]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Payload Instance Info response", bytes);
        Ok(Self { session_id: reader.u32()?, details: reader.array()? })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.session_id.to_le_bytes());
        out.extend(self.details);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("Serial over LAN", &[0x01, 0x01], Request { payload: 1, instance: 1 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "first serial port",
        &[0x78, 0x56, 0x34, 0x12, 1, 0, 0, 0, 0, 0, 0, 0],
        Response { session_id: 0x1234_5678, details: [1, 0, 0, 0, 0, 0, 0, 0] },
    )]
}
