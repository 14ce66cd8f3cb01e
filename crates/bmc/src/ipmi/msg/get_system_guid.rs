//! Get System GUID (section 22.14): the machine's, the one in its SMBIOS table; allowed outside of a session.
//!
//! The specification wants the least significant byte first; several vendors send the order of
//! SMBIOS or of RFC 4122 instead, so a client should compare, not interpret.

use crate::ipmi::{
    guid::Guid,
    wire::{Command, Decode, Encode, Reader, WireError, empty_message},
};

empty_message!(
    /// The question.
    Request,
    "Get System GUID request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The GUID.
    pub guid: Guid,
}

impl Command for Request {
    const NAME: &'static str = "Get System GUID";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x37;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get System GUID response", bytes);
        Ok(Self { guid: Guid::from_wire(reader.array()?) })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.guid.to_wire());
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification",
        &[15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        Response { guid: Guid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) },
    )]
}
