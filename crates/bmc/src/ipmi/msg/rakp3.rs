//! RAKP message 3 (section 13.22), to the controller: the proof that the console knows the
//! password, or that it gives up.

use super::status::Status;
use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "RAKP message 3";

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp3 {
    /// Comes back in RAKP 4.
    pub tag: u8,
    /// The controller's id of the session.
    pub controller_id: u32,
    /// The key exchange code, 20 or 32 bytes; or why the console gives up.
    pub outcome: Result<Vec<u8>, Status>,
}

impl Decode for Rakp3 {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let [tag, status, _, _] = reader.array()?;
        let controller_id = reader.u32()?;
        let outcome = match Status::refusal(status) {
            Some(given_up) => Err(given_up),
            None => Ok(reader.rest().to_vec()),
        };
        Ok(Self { tag, controller_id, outcome })
    }
}

impl Encode for Rakp3 {
    fn encode(&self, out: &mut Vec<u8>) {
        let status = self.outcome.as_ref().err().map_or(0, |status| status.0);
        out.extend([self.tag, status, 0, 0]);
        out.extend(self.controller_id.to_le_bytes());
        if let Ok(code) = &self.outcome {
            out.extend_from_slice(code);
        }
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<Rakp3> {
    vec![
        (
            "specification, given up",
            &[0x00, 0x0f, 0, 0, 0x78, 0x56, 0x34, 0x12],
            Rakp3 {
                tag: 0,
                controller_id: 0x1234_5678,
                outcome: Err(Status::INVALID_INTEGRITY_CHECK),
            },
        ),
        (
            "specification",
            &[
                0x00, 0x00, 0, 0, 0x78, 0x56, 0x34, 0x12, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                3, 3, 3, 3, 3, 3,
            ],
            Rakp3 { tag: 0, controller_id: 0x1234_5678, outcome: Ok(vec![3; 20]) },
        ),
    ]
}
