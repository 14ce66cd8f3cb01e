//! Open Session (section 13.17 and 13.18): the console proposes algorithms, the controller takes
//! them or refuses. Sessionless, payload types 0x10 and 0x11.
//!
//! An algorithm record of length zero lets the controller choose. `ipmi_sim` answers a maximum
//! privilege of zero, which FreeIPMI refuses; VirtualBMC answers suite 3 whatever was proposed.

use super::status::Status;
use crate::ipmi::{
    suite::Algorithms,
    wire::{Decode, Encode, Reader, WireError},
};

const REQUEST: &str = "Open Session Request";
const RESPONSE: &str = "Open Session Response";

/// To the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the response.
    pub tag: u8,
    /// Highest level asked for (4 bits); zero for the highest there is.
    pub privilege: u8,
    /// The console's id of the session.
    pub console_id: u32,
    /// The proposal; `None` for each that the controller may choose.
    pub authentication: Option<u8>,
    /// The same for integrity.
    pub integrity: Option<u8>,
    /// The same for confidentiality.
    pub confidentiality: Option<u8>,
}

/// From the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The request's tag.
    pub tag: u8,
    /// Highest level possible (4 bits).
    pub privilege: u8,
    /// The console's id of the session.
    pub console_id: u32,
    /// What was decided.
    pub outcome: Result<Accepted, Status>,
}

/// The controller's side of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The controller's id of the session.
    pub controller_id: u32,
    /// The algorithms from now on.
    pub algorithms: Algorithms,
}

fn read_algorithm(reader: &mut Reader<'_>, kind: u8) -> Result<Option<u8>, WireError> {
    let [found, _, _, length, algorithm, _, _, _] = reader.array()?;
    if found != kind {
        return Err(reader.reserved("payload type", found));
    }
    match length {
        0 => Ok(None),
        8 => Ok(Some(algorithm & 0x3f)),
        other => Err(reader.reserved("payload length", other)),
    }
}

fn write_algorithm(out: &mut Vec<u8>, kind: u8, algorithm: Option<u8>) {
    let length = if algorithm.is_some() { 8 } else { 0 };
    out.extend([kind, 0, 0, length, algorithm.unwrap_or(0) & 0x3f, 0, 0, 0]);
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(REQUEST, bytes);
        let [tag, privilege, _, _] = reader.array()?;
        let request = Self {
            tag,
            privilege: privilege & 0x0f,
            console_id: reader.u32()?,
            authentication: read_algorithm(&mut reader, 0)?,
            integrity: read_algorithm(&mut reader, 1)?,
            confidentiality: read_algorithm(&mut reader, 2)?,
        };
        reader.finish()?;
        Ok(request)
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.tag, self.privilege & 0x0f, 0, 0]);
        out.extend(self.console_id.to_le_bytes());
        write_algorithm(out, 0, self.authentication);
        write_algorithm(out, 1, self.integrity);
        write_algorithm(out, 2, self.confidentiality);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(RESPONSE, bytes);
        let [tag, status] = reader.array()?;
        let refused = Status::refusal(status);
        if let Some(refused) = refused.filter(|_| reader.is_empty()) {
            // OpenIPMI's simulator says no in two bytes.
            return Ok(Self { tag, privilege: 0, console_id: 0, outcome: Err(refused) });
        }
        let [privilege, _] = reader.array()?;
        let console_id = reader.u32()?;
        let outcome = if let Some(refused) = refused {
            Err(refused)
        } else {
            let controller_id = reader.u32()?;
            let [authentication, integrity, confidentiality] = [
                read_algorithm(&mut reader, 0)?.unwrap_or(0),
                read_algorithm(&mut reader, 1)?.unwrap_or(0),
                read_algorithm(&mut reader, 2)?.unwrap_or(0),
            ];
            let algorithms = Algorithms { authentication, integrity, confidentiality };
            Ok(Accepted { controller_id, algorithms })
        };
        Ok(Self { tag, privilege: privilege & 0x0f, console_id, outcome })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        let status = self.outcome.err().map_or(0, |status| status.0);
        out.extend([self.tag, status, self.privilege & 0x0f, 0]);
        out.extend(self.console_id.to_le_bytes());
        if let Ok(accepted) = self.outcome {
            out.extend(accepted.controller_id.to_le_bytes());
            write_algorithm(out, 0, Some(accepted.algorithms.authentication));
            write_algorithm(out, 1, Some(accepted.algorithms.integrity));
            write_algorithm(out, 2, Some(accepted.algorithms.confidentiality));
        }
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "ipmitool 1.8.19, suite 17",
        &[
            0x00, 0x00, 0x00, 0x00, 0xa4, 0xa3, 0xa2, 0xa0, 0x00, 0x00, 0x00, 0x08, 0x03, 0x00,
            0x00, 0x00, 0x01, 0x00, 0x00, 0x08, 0x04, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x08,
            0x01, 0x00, 0x00, 0x00,
        ],
        Request {
            tag: 0,
            privilege: 0,
            console_id: 0xa0a2_a3a4,
            authentication: Some(3),
            integrity: Some(4),
            confidentiality: Some(1),
        },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![
        (
            "specification, suite 3",
            &[
                0x00, 0x00, 0x04, 0x00, 0xa4, 0xa3, 0xa2, 0xa0, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00,
                0x00, 0x08, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00,
                0x02, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00,
            ],
            Response {
                tag: 0,
                privilege: 4,
                console_id: 0xa0a2_a3a4,
                outcome: Ok(Accepted {
                    controller_id: 0x1234_5678,
                    algorithms: crate::ipmi::suite::CipherSuite::Suite3.algorithms(),
                }),
            },
        ),
        (
            "specification, no common suite",
            &[0x09, 0x11, 0x00, 0x00, 0xa4, 0xa3, 0xa2, 0xa0],
            Response {
                tag: 9,
                privilege: 0,
                console_id: 0xa0a2_a3a4,
                outcome: Err(Status::NO_CIPHER_SUITE),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_two_bytes() {
        let refused = Response { tag: 1, privilege: 0, console_id: 0, outcome: Err(Status(0x04)) };
        assert_eq!(Response::decode(&[0x01, 0x04]), Ok(refused));
        for length in 3..8 {
            let cut = &[1, 4, 0, 0, 0, 0, 0, 0][..length];
            assert!(Response::decode(cut).is_err(), "cut at {length}");
        }
        assert!(Response::decode(&[0x01, 0x00]).is_err(), "two bytes cannot say yes");
    }
}
