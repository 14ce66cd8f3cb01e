//! Get Channel Info (section 22.24).

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Channel (4 bits).
    pub channel: u8,
    /// Kind of medium (7 bits); 4 is a LAN.
    pub medium: u8,
    /// Protocol (5 bits); 1 is IPMB.
    pub protocol: u8,
    /// Bits 7 and 6: 2 when there can be several sessions; bits 5 to 0: how many there are.
    pub sessions: u8,
    /// Enterprise number of who defined the protocol; 7154 is the IPMI forum.
    pub vendor: [u8; 3],
    /// Reserved for LANs.
    pub auxiliary: [u8; 2],
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Info";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x42;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Info request", bytes);
        let channel = reader.u8()? & 0x0f;
        reader.finish()?;
        Ok(Self { channel })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.channel & 0x0f);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Info response", bytes);
        let [channel, medium, protocol, sessions] = reader.array()?;
        Ok(Self {
            channel: channel & 0x0f,
            medium: medium & 0x7f,
            protocol: protocol & 0x1f,
            sessions,
            vendor: reader.array()?,
            auxiliary: reader.array()?,
        })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.channel & 0x0f, self.medium & 0x7f, self.protocol & 0x1f, self.sessions]);
        out.extend(self.vendor);
        out.extend(self.auxiliary);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("ipmitool 1.8.19", &[0x01], Request { channel: 1 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification",
        &[0x01, 0x04, 0x01, 0x81, 0xf2, 0x1b, 0x00, 0x00, 0x00],
        Response {
            channel: 1,
            medium: 4,
            protocol: 1,
            sessions: 0x81,
            vendor: [0xf2, 0x1b, 0],
            auxiliary: [0; 2],
        },
    )]
}
