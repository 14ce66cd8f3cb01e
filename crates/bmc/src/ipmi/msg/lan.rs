//! An IPMI message as a LAN carries it (section 13.8): IPMB framing with two checksums.
//!
//! The request goes from the remote console (0x81) to the controller (0x20), the response back.

use crate::ipmi::{
    completion::Completion,
    wire::{Decode, Encode, Reader, WireError, checksum},
};

const REQUEST: &str = "IPMI request";
const RESPONSE: &str = "IPMI response";
/// Address of the controller.
pub const CONTROLLER: u8 = 0x20;
/// Address of a remote console.
pub const CONSOLE: u8 = 0x81;

/// To the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanRequest {
    /// Who shall answer; [`CONTROLLER`] unless the message is to be bridged.
    pub to: u8,
    /// Network function, even (6 bits).
    pub netfn: u8,
    /// Logical unit of the receiver (2 bits).
    pub to_lun: u8,
    /// Who asks.
    pub from: u8,
    /// Number that the response repeats (6 bits).
    pub sequence: u8,
    /// Logical unit of the sender (2 bits).
    pub from_lun: u8,
    /// The command.
    pub command: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// From the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanResponse {
    /// Who had asked.
    pub to: u8,
    /// Network function of the request plus one (6 bits).
    pub netfn: u8,
    /// Logical unit of who had asked (2 bits).
    pub to_lun: u8,
    /// Who answers.
    pub from: u8,
    /// The request's number (6 bits).
    pub sequence: u8,
    /// Logical unit of who answers (2 bits).
    pub from_lun: u8,
    /// The request's command.
    pub command: u8,
    /// How it ended.
    pub completion: Completion,
    /// What it gave.
    pub data: Vec<u8>,
}

impl LanRequest {
    /// A request to the controller.
    #[must_use]
    pub fn new(netfn: u8, command: u8, sequence: u8, data: Vec<u8>) -> Self {
        let (to, from) = (CONTROLLER, CONSOLE);
        Self { to, netfn, to_lun: 0, from, sequence, from_lun: 0, command, data }
    }

    /// The response to it.
    #[must_use]
    pub fn response(&self, completion: Completion, data: Vec<u8>) -> LanResponse {
        LanResponse {
            to: self.from,
            netfn: self.netfn | 1,
            to_lun: self.from_lun,
            from: self.to,
            sequence: self.sequence,
            from_lun: self.to_lun,
            command: self.command,
            completion,
            data,
        }
    }
}

/// The six bytes before the data, and the data.
struct Frame<'a> {
    to: u8,
    netfn_lun: u8,
    from: u8,
    sequence_lun: u8,
    command: u8,
    data: &'a [u8],
}

fn open<'a>(message: &'static str, bytes: &'a [u8], odd: bool) -> Result<Frame<'a>, WireError> {
    let mut reader = Reader::new(message, bytes);
    let [to, netfn_lun, first] = reader.array()?;
    let [from, sequence_lun, command] = reader.array()?;
    let (last, data) = reader.rest().split_last().ok_or(WireError::Short {
        message,
        need: 7,
        got: bytes.len(),
    })?;
    let body = bytes.get(3..bytes.len().saturating_sub(1)).unwrap_or_default();
    if checksum(&[to, netfn_lun]) != first || checksum(body) != *last {
        return Err(WireError::Checksum { message });
    }
    if (netfn_lun & 0x04 != 0) != odd {
        return Err(reader.reserved("network function", netfn_lun >> 2));
    }
    Ok(Frame { to, netfn_lun, from, sequence_lun, command, data })
}

fn close(out: &mut Vec<u8>, frame: [u8; 5], data: &[&[u8]]) {
    let [to, netfn_lun, from, sequence_lun, command] = frame;
    out.extend([to, netfn_lun, checksum(&[to, netfn_lun])]);
    let start = out.len();
    out.extend([from, sequence_lun, command]);
    for part in data {
        out.extend_from_slice(part);
    }
    out.push(checksum(out.get(start..).unwrap_or_default()));
}

fn joined(high: u8, lun: u8) -> u8 {
    high << 2 | lun & 0x03
}

impl Decode for LanRequest {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let frame = open(REQUEST, bytes, false)?;
        Ok(Self {
            to: frame.to,
            netfn: frame.netfn_lun >> 2,
            to_lun: frame.netfn_lun & 0x03,
            from: frame.from,
            sequence: frame.sequence_lun >> 2,
            from_lun: frame.sequence_lun & 0x03,
            command: frame.command,
            data: frame.data.to_vec(),
        })
    }
}

impl Encode for LanRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        let frame = [
            self.to,
            joined(self.netfn, self.to_lun),
            self.from,
            joined(self.sequence, self.from_lun),
            self.command,
        ];
        close(out, frame, &[&self.data]);
    }
}

impl Decode for LanResponse {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let frame = open(RESPONSE, bytes, true)?;
        let short = WireError::Short { message: RESPONSE, need: 8, got: bytes.len() };
        let (completion, data) = frame.data.split_first().ok_or(short)?;
        Ok(Self {
            to: frame.to,
            netfn: frame.netfn_lun >> 2,
            to_lun: frame.netfn_lun & 0x03,
            from: frame.from,
            sequence: frame.sequence_lun >> 2,
            from_lun: frame.sequence_lun & 0x03,
            command: frame.command,
            completion: Completion(*completion),
            data: data.to_vec(),
        })
    }
}

impl Encode for LanResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        let frame = [
            self.to,
            joined(self.netfn, self.to_lun),
            self.from,
            joined(self.sequence, self.from_lun),
            self.command,
        ];
        close(out, frame, &[&[self.completion.0], &self.data]);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<LanRequest> {
    vec![(
        "ipmitool 1.8.19, Get Channel Authentication Capabilities",
        &[0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5],
        LanRequest::new(0x06, 0x38, 0, vec![0x8e, 0x04]),
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<LanResponse> {
    vec![(
        "specification, Set Session Privilege Level",
        &[0x81, 0x1c, 0x63, 0x20, 0x08, 0x3b, 0x00, 0x04, 0x99],
        LanRequest::new(0x06, 0x3b, 2, vec![0x04]).response(Completion::OK, vec![0x04]),
    )]
}
