//! Get SEL Time (section 31.10): the controller's clock.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get SEL Time request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Seconds since 1970, in whatever zone the controller lives. Up to 0x20000000 it counts
    /// seconds since it started, and has not been told the time (section 37.1).
    pub seconds: u32,
}

impl Command for Request {
    const NAME: &'static str = "Get SEL Time";
    const NETFN: u8 = super::NETFN_STORAGE;
    const CODE: u8 = 0x48;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self { seconds: Reader::new("Get SEL Time response", bytes).u32()? })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.seconds.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "the first second of 2026",
        &[0x00, 0xb9, 0x55, 0x69],
        Response { seconds: 1_767_225_600 },
    )]
}
