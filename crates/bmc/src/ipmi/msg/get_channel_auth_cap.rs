//! Get Channel Authentication Capabilities (section 22.13): the first question of every client,
//! allowed outside of a session.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

const REQUEST: &str = "Get Channel Authentication Capabilities request";
const RESPONSE: &str = "Get Channel Authentication Capabilities response";

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whether the answer may speak of IPMI 2.0; clients of 1.5 do not set it.
    pub extended: bool,
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
    /// Level for which one asks (4 bits).
    pub privilege: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Channel.
    pub channel: u8,
    /// Authentication types of IPMI 1.5, a bit each; bit 7: the rest speaks of IPMI 2.0.
    pub types: u8,
    /// Whose logins are possible: bit 2 named users, bit 1 null users, bit 0 anonymous; bit 5: a
    /// second key (Kg) is needed.
    pub status: u8,
    /// Bit 1: IPMI 2.0; bit 0: IPMI 1.5.
    pub versions: u8,
    /// Enterprise number and data of the vendor.
    pub oem: [u8; 4],
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Authentication Capabilities";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x38;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(REQUEST, bytes);
        let [channel, privilege] = reader.array()?;
        reader.finish()?;
        let extended = channel & 0x80 != 0;
        Ok(Self { extended, channel: channel & 0x0f, privilege: privilege & 0x0f })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        let extended = if self.extended { 0x80 } else { 0 };
        out.extend([extended | self.channel & 0x0f, self.privilege & 0x0f]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(RESPONSE, bytes);
        let [channel, types, status, versions] = reader.array()?;
        Ok(Self { channel: channel & 0x0f, types, status, versions, oem: reader.array()? })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.channel & 0x0f, self.types, self.status, self.versions]);
        out.extend(self.oem);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "ipmitool 1.8.19",
        &[0x8e, 0x04],
        Request { extended: true, channel: 0x0e, privilege: 4 },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification, IPMI 2.0 with named users",
        &[0x01, 0x80, 0x04, 0x02, 0, 0, 0, 0],
        Response { channel: 1, types: 0x80, status: 0x04, versions: 0x02, oem: [0; 4] },
    )]
}
