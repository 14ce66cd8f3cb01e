//! ASF presence ping (to the controller) and pong (from it), section 13.2.4; without the RMCP
//! header. How `rmcpping` and some libraries look for controllers.

use crate::ipmi::wire::{Decode, Encode, Reader, WireError};

const NAME: &str = "ASF presence";
/// ASF's own enterprise number, most significant byte first: the one number that is.
const ASF_IANA: [u8; 4] = [0x00, 0x00, 0x11, 0xbe];
const PING: u8 = 0x80;
const PONG: u8 = 0x40;

/// "Is somebody there?"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the pong.
    pub tag: u8,
}

/// "Yes."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// The tag of the ping.
    pub tag: u8,
    /// Whether IPMI is spoken.
    pub ipmi: bool,
}

fn open<'a>(bytes: &'a [u8], kind: u8) -> Result<(Reader<'a>, u8), WireError> {
    let mut reader = Reader::new(NAME, bytes);
    let iana: [u8; 4] = reader.array()?;
    if iana != ASF_IANA {
        return Err(reader.reserved("enterprise number", u32::from_be_bytes(iana)));
    }
    let found = reader.u8()?;
    if found != kind {
        return Err(reader.reserved("message type", found));
    }
    let tag = reader.u8()?;
    reader.u8()?;
    reader.u8()?;
    Ok((reader, tag))
}

impl Decode for Ping {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (_, tag) = open(bytes, PING)?;
        Ok(Self { tag })
    }
}

impl Encode for Ping {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(ASF_IANA);
        out.extend([PING, self.tag, 0, 0]);
    }
}

impl Decode for Pong {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (mut reader, tag) = open(bytes, PONG)?;
        reader.take(8)?;
        let entities = reader.u8()?;
        reader.take(7)?;
        Ok(Self { tag, ipmi: entities & 0x80 != 0 })
    }
}

impl Encode for Pong {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(ASF_IANA);
        out.extend([PONG, self.tag, 0, 16]);
        out.extend(ASF_IANA);
        out.extend([0, 0, 0, 0]);
        out.push(if self.ipmi { 0x81 } else { 0x01 });
        out.extend([0; 7]);
    }
}

#[cfg(test)]
pub(super) fn ping_vectors() -> super::Vectors<Ping> {
    vec![("specification", &[0, 0, 0x11, 0xbe, 0x80, 0x07, 0, 0], Ping { tag: 7 })]
}

#[cfg(test)]
pub(super) fn pong_vectors() -> super::Vectors<Pong> {
    vec![(
        "specification",
        &[
            0, 0, 0x11, 0xbe, 0x40, 0x07, 0, 16, 0, 0, 0x11, 0xbe, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0,
            0, 0,
        ],
        Pong { tag: 7, ipmi: true },
    )]
}
