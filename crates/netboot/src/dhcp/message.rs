//! DHCP messages (RFC 2131, section 2; options RFC 2132), both halves: the server needs requests
//! decoded and replies encoded, the search for foreign servers the other way round.
//!
//! Written by hand: what firmware and hostile guests send must never panic, and options stay bytes
//! until somebody asks for one, so that a broken option nobody needs does not lose the others.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// Magic cookie (RFC 2131, section 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The header up to and including the cookie.
const HEADER_BYTES: usize = 240;
/// BOOTP's smallest message (RFC 1542, section 2.1); some ROMs drop shorter ones.
const MESSAGE_BYTES_MIN: usize = 300;

/// Option codes that are used here.
pub(crate) mod code {
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const NTP_SERVERS: u8 = 42;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_ID: u8 = 54;
    pub(crate) const PARAMETERS: u8 = 55;
    pub(crate) const RENEWAL_TIME: u8 = 58;
    pub(crate) const REBINDING_TIME: u8 = 59;
    pub(crate) const CLASS: u8 = 60;
    pub(crate) const TFTP_SERVER: u8 = 66;
    pub(crate) const BOOT_FILE: u8 = 67;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const ARCHITECTURE: u8 = 93;
    pub(crate) const MACHINE_ID: u8 = 97;
    /// iPXE's own options, encapsulated.
    pub(crate) const IPXE: u8 = 175;
}

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

impl MessageType {
    fn from_byte(byte: u8) -> Option<Self> {
        use MessageType as T;
        let all =
            [T::Discover, T::Offer, T::Request, T::Decline, T::Ack, T::Nak, T::Release, T::Inform];
        all.into_iter().find(|t| *t as u8 == byte)
    }
}

/// Who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A client.
    Request = 1,
    /// A server.
    Reply = 2,
}

/// A message. `sname` and `file` are kept without their trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) op: Op,
    pub(crate) hardware_type: u8,
    pub(crate) hardware_len: u8,
    pub(crate) hops: u8,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 16],
    pub(crate) sname: Vec<u8>,
    pub(crate) file: Vec<u8>,
    pub(crate) options: Options,
}

/// Options by code; what came in several pieces is joined (RFC 3396).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options(BTreeMap<u8, Vec<u8>>);

/// The bytes are no DHCP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a DHCP message has 240 bytes and options; {got} bytes came")]
    Short { got: usize },
    #[error("op is {0}, neither request nor reply")]
    Op(u8),
    #[error("no DHCP cookie")]
    Cookie,
    #[error("a hardware address of {0} bytes")]
    HardwareLen(u8),
}

impl Options {
    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    pub(crate) fn put(&mut self, code: u8, value: &[u8]) {
        self.0.insert(code, value.to_vec());
    }

    pub(crate) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    /// Reads options up to the end mark; without one, which old ROMs forget, up to the last byte.
    /// One that says more bytes than there are ends it, and those before it count: some ROMs cut
    /// their last one off.
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((&code, rest)) = bytes.split_first() {
            match code {
                0 => bytes = rest,
                255 => break,
                _ => {
                    let Some((&len, rest)) = rest.split_first() else { return };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(len)) else {
                        return;
                    };
                    self.0.entry(code).or_default().extend_from_slice(value);
                    bytes = rest;
                }
            }
        }
    }

    /// Writes them in ascending order, but the message type first: some ROMs look only there.
    fn write(&self, out: &mut Vec<u8>) {
        let first = self.0.get_key_value(&code::MESSAGE_TYPE);
        let rest = self.0.iter().filter(|(code, _)| **code != code::MESSAGE_TYPE);
        for (code, value) in first.into_iter().chain(rest) {
            if value.is_empty() {
                out.extend([*code, 0]);
            }
            for piece in value.chunks(255) {
                out.push(*code);
                out.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(piece);
            }
        }
        out.push(255);
    }
}

impl Message {
    /// The answer to this request, still without options.
    pub(crate) fn reply(&self) -> Self {
        Self {
            op: Op::Reply,
            hops: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::default(),
            ..self.clone()
        }
    }

    /// The first six bytes of the hardware address.
    pub(crate) fn mac_bytes(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.chaddr;
        [a, b, c, d, e, f]
    }

    /// Option 53: one byte. One that came twice was joined; the first is meant.
    pub(crate) fn message_type(&self) -> Option<MessageType> {
        self.options.get(code::MESSAGE_TYPE)?.first().copied().and_then(MessageType::from_byte)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, tail) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(DecodeError::Short { got: bytes.len() })?;
        let op = match head[0] {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Err(DecodeError::Op(other)),
        };
        if head[2] > 16 {
            return Err(DecodeError::HardwareLen(head[2]));
        }
        if head[236..240] != COOKIE {
            return Err(DecodeError::Cookie);
        }
        let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
        let mut chaddr = [0; 16];
        chaddr.copy_from_slice(&head[28..44]);
        let mut options = Options::default();
        options.read(tail);
        // RFC 2132, section 9.3: 1 = file holds options, 2 = sname does, 3 = both, file first.
        let overload = match options.get(code::OVERLOAD) {
            Some([bits]) => bits & 3,
            _ => 0,
        };
        let (sname, file) = (&head[44..108], &head[108..236]);
        let (mut sname_text, mut file_text) = (until_zero(sname), until_zero(file));
        if overload & 1 != 0 {
            options.read(file);
            file_text.clear();
        }
        if overload & 2 != 0 {
            options.read(sname);
            sname_text.clear();
        }
        Ok(Self {
            op,
            hardware_type: head[1],
            hardware_len: head[2],
            hops: head[3],
            xid: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            secs: u16::from_be_bytes([head[8], head[9]]),
            flags: u16::from_be_bytes([head[10], head[11]]),
            ciaddr: address(12),
            yiaddr: address(16),
            siaddr: address(20),
            giaddr: address(24),
            chaddr,
            sname: sname_text,
            file: file_text,
            options,
        })
    }

    /// The bytes; `sname` beyond 63 and `file` beyond 127 bytes are left out (they are in options
    /// 66 and 67 as well).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(576);
        out.extend([self.op as u8, self.hardware_type, self.hardware_len, self.hops]);
        out.extend(self.xid.to_be_bytes());
        out.extend(self.secs.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            out.extend(address.octets());
        }
        out.extend(self.chaddr);
        for (text, room) in [(&self.sname, 64), (&self.file, 128)] {
            let end = out.len() + room;
            if text.len() < room {
                out.extend_from_slice(text);
            }
            out.resize(end, 0);
        }
        out.extend(COOKIE);
        self.options.write(&mut out);
        out.resize(out.len().max(MESSAGE_BYTES_MIN), 0);
        out
    }
}

fn until_zero(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    /// A request as a client would send it.
    pub(crate) fn request(mac: [u8; 6], options: &[(u8, &[u8])]) -> Message {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&mac);
        let mut all = Options::default();
        for (code, value) in options {
            all.put(*code, value);
        }
        Message {
            op: Op::Request,
            hardware_type: 1,
            hardware_len: 6,
            hops: 0,
            xid: 0x1234_5678,
            secs: 4,
            flags: 0x8000,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options: all,
        }
    }

    fn bytes(hardware_len: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 1, hardware_len, 0];
        bytes.resize(236, 0);
        bytes.extend(COOKIE);
        bytes.extend(options);
        bytes
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in vec(any::<u8>(), 0..1500)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn decoding_hostile_options_never_panics(
            len: u8, options in vec(any::<u8>(), 0..600), fields in vec(any::<u8>(), 192),
        ) {
            let mut bytes = bytes(len, &options);
            bytes[44..236].copy_from_slice(&fields);
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert!(message.encode().len() >= MESSAGE_BYTES_MIN);
            }
        }

        #[test]
        fn what_is_encoded_decodes(
            xid: u32, secs: u16, flags: u16, address: u32, chaddr: [u8; 16], len in 0u8..=16,
            sname in vec(1u8.., 0..64), file in vec(1u8.., 0..128),
            options in proptest::collection::btree_map(1u8..=254, vec(any::<u8>(), 0..600), 0..6),
        ) {
            let options: BTreeMap<_, _> =
                options.into_iter().filter(|(code, _)| *code != code::OVERLOAD).collect();
            let message = Message {
                op: Op::Reply, hardware_type: 1, hardware_len: len, hops: 1, xid, secs, flags,
                ciaddr: Ipv4Addr::from(address), yiaddr: Ipv4Addr::from(!address),
                siaddr: Ipv4Addr::from(address ^ 1), giaddr: Ipv4Addr::from(address ^ 2),
                chaddr, sname, file, options: Options(options),
            };
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(Message::decode(&[1; 239]), Err(DecodeError::Short { got: 239 }));
        assert_eq!(Message::decode(&bytes(17, &[255])), Err(DecodeError::HardwareLen(17)));
        let mut other = bytes(6, &[255]);
        other[239] = 0;
        assert_eq!(Message::decode(&other), Err(DecodeError::Cookie));
    }

    #[test]
    fn a_last_option_that_is_cut_off_does_not_lose_the_others() {
        for tail in [&[12, 20, b'a', b'b'][..], &[12], &[12, 1]] {
            let options = [&[53, 1, 1, 60, 2, b'P', b'X'][..], tail].concat();
            let message = Message::decode(&bytes(6, &options)).unwrap();
            assert_eq!(message.message_type(), Some(MessageType::Discover), "{tail:?}");
            assert_eq!(message.options.get(code::CLASS), Some(&b"PX"[..]), "{tail:?}");
        }
    }

    #[test]
    fn a_message_type_that_came_twice_is_its_first() {
        for second in [1, 3] {
            let message = Message::decode(&bytes(6, &[53, 1, 1, 53, 1, second, 255])).unwrap();
            assert_eq!(message.message_type(), Some(MessageType::Discover));
        }
    }

    #[test]
    fn text_where_options_were_announced_does_no_harm() {
        let mut bytes = bytes(6, &[53, 1, 1, 52, 1, 2, 255]);
        bytes[44..53].copy_from_slice(b"pxeserver");
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.message_type(), Some(MessageType::Discover));
    }

    #[test]
    fn options_may_lie_in_file_and_sname_and_in_pieces() {
        let mut bytes = bytes(6, &[52, 1, 3, 12, 1, b'a', 0, 12, 1, b'b', 255, 12, 1, b'x']);
        bytes[108..112].copy_from_slice(&[12, 1, b'c', 255]);
        bytes[44..48].copy_from_slice(&[53, 1, 1, 255]);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.options.get(code::HOST_NAME), Some(&b"abc"[..]));
        assert_eq!(message.message_type(), Some(MessageType::Discover));
        assert_eq!((message.file.len(), message.sname.len()), (0, 0));
    }
}
