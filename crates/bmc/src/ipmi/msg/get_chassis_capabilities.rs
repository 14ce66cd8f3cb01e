//! Get Chassis Capabilities (section 28.1). `ipmi_sim` leaks its memory here.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

empty_message!(
    /// The question.
    Request,
    "Get Chassis Capabilities request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Bit 3 power interlock, bit 2 diagnostic interrupt, bit 1 lockout of the front panel, bit 0
    /// intrusion sensor.
    pub flags: u8,
    /// Addresses of the FRU, SDR, SEL and system management devices; zero when unspecified.
    pub devices: [u8; 4],
    /// Address of the bridge; left out when it is the controller.
    pub bridge: Option<u8>,
}

impl Command for Request {
    const NAME: &'static str = "Get Chassis Capabilities";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x00;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Chassis Capabilities response", bytes);
        Ok(Self { flags: reader.u8()?, devices: reader.array()?, bridge: reader.u8().ok() })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.flags);
        out.extend(self.devices);
        out.extend(self.bridge);
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification",
        &[0x04, 0x00, 0x20, 0x20, 0x20],
        Response { flags: 4, devices: [0, 0x20, 0x20, 0x20], bridge: None },
    )]
}
