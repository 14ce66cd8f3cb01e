//! Set Session Privilege Level (section 22.18): a session starts as USER and is raised by this.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Level (4 bits); zero to ask for the present one.
    pub privilege: u8,
}

/// The level from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Level (4 bits).
    pub privilege: u8,
}

impl Command for Request {
    const NAME: &'static str = "Set Session Privilege Level";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x3b;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Set Session Privilege Level request", bytes);
        let privilege = reader.u8()? & 0x0f;
        reader.finish()?;
        Ok(Self { privilege })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.privilege & 0x0f);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Set Session Privilege Level response", bytes);
        Ok(Self { privilege: reader.u8()? & 0x0f })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.privilege & 0x0f);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("ipmitool 1.8.19", &[0x04], Request { privilege: 4 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("specification", &[0x04], Response { privilege: 4 })]
}
