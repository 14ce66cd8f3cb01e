//! RAKP message 2 (section 13.21), from the controller: its challenge, and the proof that it
//! knows the password. Also, by the protocol's design, all that an attacker needs to guess short
//! passwords offline.

use super::status::Status;
use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "RAKP message 2";

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp2 {
    /// The tag of RAKP 1.
    pub tag: u8,
    /// The console's id of the session.
    pub console_id: u32,
    /// The challenge, or why there is none.
    pub outcome: Result<Challenge, Status>,
}

/// The controller's challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Its random number.
    pub controller_random: [u8; 16],
    /// Its GUID, as on the wire.
    pub guid: [u8; 16],
    /// The key exchange code, 20 or 32 bytes.
    pub code: Vec<u8>,
}

impl Decode for Rakp2 {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let [tag, status, _, _] = reader.array()?;
        let console_id = reader.u32()?;
        let outcome = match Status::refusal(status) {
            Some(refused) => Err(refused),
            None => Ok(Challenge {
                controller_random: reader.array()?,
                guid: reader.array()?,
                code: reader.rest().to_vec(),
            }),
        };
        Ok(Self { tag, console_id, outcome })
    }
}

impl Encode for Rakp2 {
    fn encode(&self, out: &mut Vec<u8>) {
        let status = self.outcome.as_ref().err().map_or(0, |status| status.0);
        out.extend([self.tag, status, 0, 0]);
        out.extend(self.console_id.to_le_bytes());
        if let Ok(challenge) = &self.outcome {
            out.extend(challenge.controller_random);
            out.extend(challenge.guid);
            out.extend_from_slice(&challenge.code);
        }
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<Rakp2> {
    vec![
        (
            "specification, refused",
            &[0x03, 0x0d, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0],
            Rakp2 { tag: 3, console_id: 0xa0a2_a3a4, outcome: Err(Status::UNAUTHORIZED_NAME) },
        ),
        (
            "specification",
            &[
                0x00, 0x00, 0, 0, 0xa4, 0xa3, 0xa2, 0xa0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
            ],
            Rakp2 {
                tag: 0,
                console_id: 0xa0a2_a3a4,
                outcome: Ok(Challenge {
                    controller_random: [1; 16],
                    guid: [2; 16],
                    code: vec![3; 20],
                }),
            },
        ),
    ]
}
