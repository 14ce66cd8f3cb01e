//! Get Channel Access (section 22.23): whether and how far the channel lets one in.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Channel (4 bits); 0xe is the one the question came by.
    pub channel: u8,
    /// Which setting (2 bits): 1 the one that is kept, 2 the one in force.
    pub which: u8,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Bit 5 alerts off, 4 per-message authentication off, 3 user-level authentication off; bits
    /// 2 to 0: 2 is "always available".
    pub access: u8,
    /// Highest level of the channel (4 bits).
    pub privilege: u8,
}

impl Command for Request {
    const NAME: &'static str = "Get Channel Access";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x41;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Channel Access request", bytes);
        let [channel, which] = reader.array()?;
        reader.finish()?;
        Ok(Self { channel: channel & 0x0f, which: which >> 6 })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.channel & 0x0f, self.which << 6]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [access, privilege] = Reader::new("Get Channel Access response", bytes).array()?;
        Ok(Self { access, privilege: privilege & 0x0f })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.access, self.privilege & 0x0f]);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("ipmitool 1.8.19, in force", &[0x01, 0x80], Request { channel: 1, which: 2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("specification", &[0x22, 0x04], Response { access: 0x22, privilege: 4 })]
}
