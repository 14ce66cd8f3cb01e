//! Deactivate Payload (section 24.2).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

/// Completion code of this command: not active anyway.
pub const ALREADY_INACTIVE: crate::ipmi::completion::Completion =
    crate::ipmi::completion::Completion(0x80);

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Payload type (6 bits).
    pub payload: u8,
    /// Which instance of it (4 bits), from 1.
    pub instance: u8,
    /// Nothing, for Serial over LAN.
    pub auxiliary: [u8; 4],
}

empty_message!(
    /// The answer.
    Response,
    "Deactivate Payload response"
);

impl Command for Request {
    const NAME: &'static str = "Deactivate Payload";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x49;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Deactivate Payload request", bytes);
        let [payload, instance] = reader.array()?;
        let auxiliary = reader.array()?;
        reader.finish()?;
        Ok(Self { payload: payload & 0x3f, instance: instance & 0x0f, auxiliary })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.payload & 0x3f, self.instance & 0x0f]);
        out.extend(self.auxiliary);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    let request = Request { payload: 1, instance: 1, auxiliary: [0; 4] };
    vec![("Serial over LAN", &[0x01, 0x01, 0, 0, 0, 0], request)]
}
