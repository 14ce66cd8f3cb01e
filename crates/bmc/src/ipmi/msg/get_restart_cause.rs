//! Get System Restart Cause (section 28.11).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get System Restart Cause request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// 0 unknown, 1 a chassis control command, 3 the power button (4 bits).
    pub cause: u8,
    /// Channel that the command came by.
    pub channel: u8,
}

impl Command for Request {
    const NAME: &'static str = "Get System Restart Cause";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x07;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [cause, channel] = Reader::new("Get System Restart Cause response", bytes).array()?;
        Ok(Self { cause: cause & 0x0f, channel })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.cause & 0x0f, self.channel]);
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("specification", &[0x01, 0x01], Response { cause: 1, channel: 1 })]
}
