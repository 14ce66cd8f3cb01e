//! Datagrams: framing, and the seal of a session.
//!
//! ```text
//! RMCP (4) | session header (12) | payload | pad ff… | pad length | 07 | integrity code
//!            └──────────── covered by the integrity code ────────────┘
//! ```
//! Inside a session the payload is encrypted and the trailer is there; outside there is neither.

use super::{
    crypto::SessionKeys,
    msg::{
        asf::{Ping, Pong},
        rmcp::{Class, RmcpHeader},
        session_header::{FORMAT_RMCP_PLUS, PayloadType, SessionHeader},
        session_header_v15::SessionHeaderV15,
    },
    wire::{Decode, Encode, Reader, WireError},
};

/// No datagram of IPMI comes near this; larger ones are dropped unread.
pub const DATAGRAM_BYTES_MAX: usize = 1024;
const NAME: &str = "datagram";
const NEXT_HEADER: u8 = 0x07;

/// A datagram taken apart, still sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// ASF presence ping.
    Ping(Ping),
    /// ASF presence pong.
    Pong(Pong),
    /// A packet of IPMI 1.5.
    V15 {
        /// Its header.
        header: SessionHeaderV15,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A packet of RMCP+.
    Plus(Packet<'a>),
}

/// A packet of RMCP+.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: SessionHeader,
    /// Its payload, encrypted if the header says so.
    pub payload: &'a [u8],
    /// What follows the payload.
    trailer: &'a [u8],
    /// From the session header to the end.
    whole: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`WireError`] when it is neither ASF nor IPMI, or too short for what its header says.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let rmcp = RmcpHeader::decode(reader.take(RmcpHeader::BYTES)?)?;
        let whole = reader.rest();
        if rmcp.class == Class::Asf {
            return Ping::decode(whole).map(Self::Ping).or(Pong::decode(whole).map(Self::Pong));
        }
        let mut reader = Reader::new(NAME, whole);
        if whole.first() == Some(&FORMAT_RMCP_PLUS) {
            let header = SessionHeader::decode(reader.take(SessionHeader::BYTES)?)?;
            let payload = reader.take(usize::from(header.payload_bytes))?;
            let trailer = reader.rest();
            return Ok(Self::Plus(Packet { header, payload, trailer, whole }));
        }
        let header = SessionHeaderV15::decode(whole)?;
        reader.take(header.bytes())?;
        // A pad byte may follow (legacy of some network controllers); it is not looked at.
        let payload = reader.take(usize::from(header.payload_bytes))?;
        Ok(Self::V15 { header, payload })
    }
}

impl Packet<'_> {
    /// Checks the integrity code, then decrypts. `None` for everything that was not sealed with
    /// these keys, and for packets that are only half protected.
    #[must_use]
    pub fn open(&self, keys: &SessionKeys) -> Option<Vec<u8>> {
        if !self.header.encrypted || !self.header.authenticated {
            return None;
        }
        let length = keys.suite().integrity_length();
        let end = self.whole.len().checked_sub(length)?;
        let (covered, code) = self.whole.split_at_checked(end)?;
        if !keys.code(covered).matches(code, length) {
            return None;
        }
        let (rest, next_header) = {
            let (next_header, rest) =
                self.trailer.get(..self.trailer.len().checked_sub(length)?)?.split_last()?;
            (rest, *next_header)
        };
        let (pad, padding) = rest.split_last()?;
        if next_header != NEXT_HEADER || usize::from(*pad) != padding.len() {
            return None;
        }
        keys.decrypt(self.payload)
    }
}

fn start(header: &SessionHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    RmcpHeader::IPMI.encode(&mut out);
    header.encode(&mut out);
    out
}

/// A datagram outside of a session.
#[must_use]
pub fn plain(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    let header = SessionHeader {
        payload_type,
        encrypted: false,
        authenticated: false,
        session_id: 0,
        sequence: 0,
        payload_bytes: u16::try_from(payload.len()).unwrap_or_default(),
    };
    let mut out = start(&header);
    out.extend_from_slice(payload);
    out
}

/// A datagram of IPMI 1.5 outside of a session.
#[must_use]
pub fn plain_v15(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    RmcpHeader::IPMI.encode(&mut out);
    SessionHeaderV15::sessionless(u8::try_from(payload.len()).unwrap_or_default()).encode(&mut out);
    out.extend_from_slice(payload);
    out
}

/// The answer to a presence ping.
#[must_use]
pub fn pong(tag: u8) -> Vec<u8> {
    let mut out = RmcpHeader { sequence: 0xff, class: Class::Asf }.to_bytes();
    Pong { tag, ipmi: true }.encode(&mut out);
    out
}

/// A message in a session: encrypted with a fresh `iv`, then covered by the integrity code.
#[must_use]
pub fn seal(
    keys: &SessionKeys,
    session_id: u32,
    sequence: u32,
    payload: &[u8],
    iv: &[u8; 16],
) -> Vec<u8> {
    seal_as(PayloadType::Ipmi, keys, session_id, sequence, payload, iv)
}

/// As [`seal`], for any type of payload.
#[must_use]
pub fn seal_as(
    payload_type: PayloadType,
    keys: &SessionKeys,
    session_id: u32,
    sequence: u32,
    payload: &[u8],
    iv: &[u8; 16],
) -> Vec<u8> {
    let mut body = Vec::with_capacity(payload.len() + 32);
    keys.encrypt(iv, payload, &mut body);
    let header = SessionHeader {
        payload_type,
        encrypted: true,
        authenticated: true,
        session_id,
        sequence,
        payload_bytes: u16::try_from(body.len()).unwrap_or_default(),
    };
    let mut out = start(&header);
    out.extend_from_slice(&body);
    // With the two bytes after it, the pad fills up to a multiple of four.
    let covered = out.len() - RmcpHeader::BYTES + 2;
    let pad = covered.next_multiple_of(4) - covered;
    out.extend(std::iter::repeat_n(0xff, pad));
    out.extend([u8::try_from(pad).unwrap_or_default(), NEXT_HEADER]);
    let code = keys.code(out.get(RmcpHeader::BYTES..).unwrap_or_default());
    out.extend_from_slice(code.truncated(keys.suite().integrity_length()));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipmi::{crypto::Mac, suite::CipherSuite};

    fn keys(suite: CipherSuite) -> SessionKeys {
        SessionKeys::derive(suite, &Mac::new(suite, b"key", &[b"sik"]))
    }

    fn open(keys: &SessionKeys, bytes: &[u8]) -> Option<Vec<u8>> {
        match Datagram::parse(bytes) {
            Ok(Datagram::Plus(packet)) => packet.open(keys),
            _ => None,
        }
    }

    #[test]
    fn a_changed_byte_breaks_the_seal() {
        for suite in CipherSuite::PREFERRED {
            let keys = keys(suite);
            let sealed = seal(&keys, 7, 1, b"hello", &[1; 16]);
            assert_eq!(open(&keys, &sealed).as_deref(), Some(&b"hello"[..]));
            for at in RmcpHeader::BYTES..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 0x10;
                assert_eq!(open(&keys, &changed), None, "byte {at}");
            }
            for end in 0..sealed.len() {
                assert_eq!(open(&keys, &sealed[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn the_pad_makes_a_multiple_of_four() {
        let keys = keys(CipherSuite::Suite3);
        for length in 0..40 {
            let sealed = seal(&keys, 7, 1, &vec![0; length], &[1; 16]);
            assert_eq!((sealed.len() - RmcpHeader::BYTES - 12) % 4, 0);
        }
    }

    #[test]
    fn outside_of_a_session() {
        let bytes = plain(PayloadType::Rakp1, b"abc");
        let Ok(Datagram::Plus(packet)) = Datagram::parse(&bytes) else { panic!("not RMCP+") };
        assert_eq!((packet.header.payload_type, packet.payload), (PayloadType::Rakp1, &b"abc"[..]));
        let bytes = plain_v15(b"abc");
        let Ok(Datagram::V15 { payload, .. }) = Datagram::parse(&bytes) else { panic!("not 1.5") };
        assert_eq!(payload, b"abc");
        assert_eq!(Datagram::parse(&pong(9)), Ok(Datagram::Pong(Pong { tag: 9, ipmi: true })));
    }

    proptest! {
        #[test]
        fn parse_and_open_never_panic(
            head in prop::sample::select(vec![&[][..], &[6, 0, 255, 7], &[6, 0, 255, 7, 6, 0xc0]]),
            tail in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let bytes = [head, &tail].concat();
            prop_assert_eq!(open(&keys(CipherSuite::Suite3), &bytes), None);
        }
    }
}
