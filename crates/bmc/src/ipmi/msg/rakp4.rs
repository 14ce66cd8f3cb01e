//! RAKP message 4 (section 13.23), from the controller: the session is open, or the password was
//! wrong.

use super::status::Status;
use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "RAKP message 4";

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp4 {
    /// The tag of RAKP 3.
    pub tag: u8,
    /// The console's id of the session.
    pub console_id: u32,
    /// The integrity check value, 12 or 16 bytes; or why there is no session.
    pub outcome: Result<Vec<u8>, Status>,
}

impl Decode for Rakp4 {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let [tag, status, _, _] = reader.array()?;
        let console_id = reader.u32()?;
        let outcome = match Status::refusal(status) {
            Some(refused) => Err(refused),
            None => Ok(reader.rest().to_vec()),
        };
        Ok(Self { tag, console_id, outcome })
    }
}

impl Encode for Rakp4 {
    fn encode(&self, out: &mut Vec<u8>) {
        let status = self.outcome.as_ref().err().map_or(0, |status| status.0);
        out.extend([self.tag, status, 0, 0]);
        out.extend(self.console_id.to_le_bytes());
        if let Ok(code) = &self.outcome {
            out.extend_from_slice(code);
        }
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<Rakp4> {
    vec![
        (
            "specification",
            &[0, 0, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4],
            Rakp4 { tag: 0, console_id: 0xa0a2_a3a4, outcome: Ok(vec![4; 12]) },
        ),
        (
            "specification, wrong password",
            &[0, 0x0f, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0],
            Rakp4 {
                tag: 0,
                console_id: 0xa0a2_a3a4,
                outcome: Err(Status::INVALID_INTEGRITY_CHECK),
            },
        ),
    ]
}
