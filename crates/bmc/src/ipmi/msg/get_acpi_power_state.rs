//! Get ACPI Power State (section 20.7).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get ACPI Power State request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// 0 is S0 (working), 5 is S5 (soft off); 7 bits.
    pub system: u8,
    /// 0 is D0 (working); 7 bits.
    pub device: u8,
}

impl Command for Request {
    const NAME: &'static str = "Get ACPI Power State";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x07;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [system, device] = Reader::new("Get ACPI Power State response", bytes).array()?;
        Ok(Self { system: system & 0x7f, device: device & 0x7f })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.system & 0x7f, self.device & 0x7f]);
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("specification, soft off", &[0x05, 0x00], Response { system: 5, device: 0 })]
}
