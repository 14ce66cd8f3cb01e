//! Chassis Identify (section 28.5): the light by which a person finds the machine.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// For how long; fifteen seconds when left out, zero to end it.
    pub seconds: Option<u8>,
    /// Until told otherwise, whatever `seconds` says; only with `seconds` on the wire.
    pub forever: bool,
}

empty_message!(
    /// It is lit, or dark.
    Response,
    "Chassis Identify response"
);

impl Command for Request {
    const NAME: &'static str = "Chassis Identify";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x04;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Chassis Identify request", bytes);
        let seconds = if reader.is_empty() { None } else { Some(reader.u8()?) };
        let forever = !reader.is_empty() && reader.u8()? & 0x01 != 0;
        reader.finish()?;
        Ok(Self { seconds, forever })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        match (self.seconds, self.forever) {
            (None, false) => {}
            (Some(seconds), false) => out.push(seconds),
            (seconds, true) => out.extend([seconds.unwrap_or(0), 1]),
        }
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![
        ("ipmitool 1.8.19, identify", &[], Request { seconds: None, forever: false }),
        ("ipmitool 1.8.19, identify 1", &[0x01], Request { seconds: Some(1), forever: false }),
        ("ipmitool 1.8.19, force", &[0x00, 0x01], Request { seconds: Some(0), forever: true }),
    ]
}
