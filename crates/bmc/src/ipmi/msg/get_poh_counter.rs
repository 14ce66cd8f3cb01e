//! Get POH Counter (section 28.14): for how long the machine has been on.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get POH Counter request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Minutes that one count stands for.
    pub minutes_per_count: u8,
    /// The counter.
    pub count: u32,
}

impl Command for Request {
    const NAME: &'static str = "Get POH Counter";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x0f;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get POH Counter response", bytes);
        Ok(Self { minutes_per_count: reader.u8()?, count: reader.u32()? })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.minutes_per_count);
        out.extend(self.count.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification",
        &[0x3c, 0x10, 0x27, 0x00, 0x00],
        Response { minutes_per_count: 60, count: 10_000 },
    )]
}
