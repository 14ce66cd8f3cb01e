//! Close Session (section 22.19). VirtualBMC says yes and keeps the session.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

/// Which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The controller's id of the session.
    pub session_id: u32,
}

empty_message!(
    /// It is closed.
    Response,
    "Close Session response"
);

impl Command for Request {
    const NAME: &'static str = "Close Session";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x3c;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Close Session request", bytes);
        let session_id = reader.u32()?;
        // A session handle may follow an id of zero; handles are of no use over a LAN.
        if session_id == 0 && !reader.is_empty() {
            reader.u8()?;
        }
        reader.finish()?;
        Ok(Self { session_id })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.session_id.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("specification", &[0x78, 0x56, 0x34, 0x12], Request { session_id: 0x1234_5678 })]
}
