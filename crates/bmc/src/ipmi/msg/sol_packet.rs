//! A packet of Serial over LAN (section 15.9), both directions: four bytes, then characters.
//!
//! The last of the four is an *operation* on the way to the controller and a *status* on the way
//! back; only the bit that says NACK means the same in both.

use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

/// What a console asks for, beside the characters it sends (table 15-2).
pub mod operation {
    /// Send a break to the machine.
    pub const BREAK: u8 = 0x10;
    /// Take the machine's clear-to-send away: it shall pause.
    pub const PAUSE: u8 = 0x08;
    /// Drop carrier and data-set-ready.
    pub const HANG_UP: u8 = 0x04;
    /// Forget what came from the console and is not with the machine yet.
    pub const FLUSH_INBOUND: u8 = 0x02;
    /// Forget what came from the machine and is not with the console yet.
    pub const FLUSH_OUTBOUND: u8 = 0x01;
}

/// What a controller tells, beside the machine's characters (table 15-2).
pub mod status {
    /// Characters cannot be transferred now: the machine does not take them.
    pub const UNAVAILABLE: u8 = 0x20;
    /// The payload is not active any more.
    pub const DEACTIVATED: u8 = 0x10;
    /// Characters of the machine were lost.
    pub const OVERRUN: u8 = 0x08;
    /// The machine sent a break.
    pub const BREAK: u8 = 0x04;
}

/// In either direction: not all characters of the acknowledged packet were taken.
pub const NACK: u8 = 0x40;
/// Highest sequence number; the one after it is 1, since 0 means "none".
pub const SEQUENCE_MAX: u8 = 15;
/// Most characters of one packet: their count is acknowledged in one byte.
pub const CHARACTERS_MAX: usize = 251;
/// The four bytes before the characters.
pub const HEADER_BYTES: usize = 4;

/// The packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolPacket {
    /// Number of this packet (4 bits); 0 for one that only acknowledges or informs.
    pub sequence: u8,
    /// Number of the packet that is acknowledged (4 bits); 0 for none.
    pub acknowledged: u8,
    /// How many characters of that packet were taken.
    pub accepted: u8,
    /// Operation, or status.
    pub flags: u8,
    /// The characters.
    pub characters: Vec<u8>,
}

impl Decode for SolPacket {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("SOL packet", bytes);
        let [sequence, acknowledged, accepted, flags] = reader.array()?;
        let (sequence, acknowledged) = (sequence & 0x0f, acknowledged & 0x0f);
        Ok(Self { sequence, acknowledged, accepted, flags, characters: reader.rest().to_vec() })
    }
}

impl Encode for SolPacket {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.sequence & 0x0f, self.acknowledged & 0x0f, self.accepted, self.flags]);
        out.extend_from_slice(&self.characters);
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<SolPacket> {
    let packet = |sequence, acknowledged, accepted, flags, characters: &[u8]| SolPacket {
        sequence,
        acknowledged,
        accepted,
        flags,
        characters: characters.to_vec(),
    };
    vec![
        ("characters", &[0x01, 0, 0, 0, b'l', b's', b'\r'], packet(1, 0, 0, 0, b"ls\r")),
        ("an acknowledgement", &[0, 0x0f, 3, 0], packet(0, 15, 3, 0, b"")),
        ("a break", &[0x02, 0, 0, 0x10], packet(2, 0, 0, operation::BREAK, b"")),
        ("two of three taken", &[0, 0x03, 2, 0x40], packet(0, 3, 2, NACK, b"")),
        ("the end", &[0, 0, 0, 0x10], packet(0, 0, 0, status::DEACTIVATED, b"")),
    ]
}
