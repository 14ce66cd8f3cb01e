//! Get Channel Cipher Suites (section 22.15): what a session may be made of, sixteen bytes of
//! records at a time. Allowed outside of a session.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

const REQUEST: &str = "Get Channel Cipher Suites request";
const RESPONSE: &str = "Get Channel Cipher Suites response";
/// Bytes of records in one answer.
pub const PAGE: usize = 16;

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
    /// Payload type that the suites are for (6 bits).
    pub payload_type: u8,
    /// Whether to list suites; otherwise bare algorithms.
    pub by_suite: bool,
    /// Which sixteen bytes (6 bits).
    pub page: u8,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Channel.
    pub channel: u8,
    /// Records; fewer than sixteen bytes on the last page.
    pub records: Vec<u8>,
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Cipher Suites";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x54;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(REQUEST, bytes);
        let [channel, payload_type, index] = reader.array()?;
        reader.finish()?;
        Ok(Self {
            channel: channel & 0x0f,
            payload_type: payload_type & 0x3f,
            by_suite: index & 0x80 != 0,
            page: index & 0x3f,
        })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        let by_suite = if self.by_suite { 0x80 } else { 0 };
        out.extend([self.channel & 0x0f, self.payload_type & 0x3f, by_suite | self.page & 0x3f]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(RESPONSE, bytes);
        let channel = reader.u8()? & 0x0f;
        Ok(Self { channel, records: reader.rest().iter().take(PAGE).copied().collect() })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.channel & 0x0f);
        out.extend(self.records.iter().take(PAGE));
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "ipmitool 1.8.19",
        &[0x0e, 0x00, 0x80],
        Request { channel: 0x0e, payload_type: 0, by_suite: true, page: 0 },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification, suites 17 and 3",
        &[0x01, 0xc0, 0x11, 0x03, 0x44, 0x81, 0xc0, 0x03, 0x01, 0x41, 0x81],
        Response {
            channel: 1,
            records: vec![0xc0, 0x11, 0x03, 0x44, 0x81, 0xc0, 0x03, 0x01, 0x41, 0x81],
        },
    )]
}
