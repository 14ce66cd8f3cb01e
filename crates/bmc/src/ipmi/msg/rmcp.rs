//! The RMCP header before every datagram (section 13.1.3), both directions.
//!
//! The sequence number is 0xff ("no acknowledge wanted") in all of IPMI. Some clients set the
//! acknowledge bit of the class by mistake; acknowledges carry no data and are of no use here.

use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "RMCP header";
const VERSION: u8 = 0x06;

/// What the datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Presence ping and pong.
    Asf,
    /// IPMI.
    Ipmi,
}

/// The four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RmcpHeader {
    /// 0xff: no acknowledge.
    pub sequence: u8,
    /// What follows.
    pub class: Class,
}

impl RmcpHeader {
    /// Its length.
    pub const BYTES: usize = 4;
    /// The header of every IPMI datagram.
    pub const IPMI: Self = Self { sequence: 0xff, class: Class::Ipmi };
}

impl Decode for RmcpHeader {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(reader.reserved("version", version));
        }
        reader.u8()?;
        let sequence = reader.u8()?;
        let class = match reader.u8()? {
            0x06 => Class::Asf,
            0x07 => Class::Ipmi,
            other => return Err(reader.reserved("class", other)),
        };
        reader.finish()?;
        Ok(Self { sequence, class })
    }
}

impl Encode for RmcpHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        let class = match self.class {
            Class::Asf => 0x06,
            Class::Ipmi => 0x07,
        };
        out.extend([VERSION, 0, self.sequence, class]);
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<RmcpHeader> {
    vec![("ipmitool 1.8.19", &[0x06, 0x00, 0xff, 0x07], RmcpHeader::IPMI)]
}
