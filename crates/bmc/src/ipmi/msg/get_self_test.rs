//! Get Self Test Results (section 20.4).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get Self Test Results request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// 0x55 all is well, 0x56 there is no self test, 0x57 corrupted data, 0x58 fatal.
    pub result: u8,
    /// What is wrong.
    pub detail: u8,
}

impl Command for Request {
    const NAME: &'static str = "Get Self Test Results";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x04;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [result, detail] = Reader::new("Get Self Test Results response", bytes).array()?;
        Ok(Self { result, detail })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.result, self.detail]);
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("specification, passed", &[0x55, 0x00], Response { result: 0x55, detail: 0 })]
}
