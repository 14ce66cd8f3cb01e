//! The client's half: what iPXE with HTTP asks on behalf of a machine without firmware, and what it
//! reads of the answers (RFC 2131, section 4.4; RFC 4578). Pure: no socket, no clock.

use std::net::Ipv4Addr;

use undercloud_model::MacAddr;

use super::message::{Message, MessageType, Op, Options, code};

/// iPXE's `DHCP_EB_FEATURE_HTTP`, version 1, as an encapsulated option.
const FEATURE_HTTP: [u8; 3] = [19, 1, 1];
/// Answer by broadcast (RFC 2131, section 2): a machine without an address cannot answer ARP.
const BROADCAST: u16 = 0x8000;

/// One machine's conversation with a DHCP server.
#[derive(Debug, Clone)]
pub struct Query {
    mac: MacAddr,
    system_guid: [u8; 16],
    architecture: u16,
    xid: u32,
}

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The address and its network's prefix length.
    pub address: (Ipv4Addr, u8),
    /// Who gives it (option 54).
    pub server: Ipv4Addr,
    /// What to boot: a file's name or a URL (option 67, or the header's `file`).
    pub boot_file: Option<String>,
    /// Whether the address is given (ACK), or only offered.
    pub given: bool,
}

impl Query {
    /// A conversation with a number of its own. `architecture`: RFC 4578, section 2.1.
    pub fn new(mac: MacAddr, system_guid: [u8; 16], architecture: u16, xid: u32) -> Self {
        Self { mac, system_guid, architecture, xid }
    }

    /// DISCOVER.
    pub fn discover(&self) -> Vec<u8> {
        self.message(MessageType::Discover, |_| ())
    }

    /// REQUEST of what was offered.
    pub fn request(&self, offer: &Answer) -> Vec<u8> {
        self.message(MessageType::Request, |options| {
            options.put(code::REQUESTED_ADDRESS, &offer.address.0.octets());
            options.put(code::SERVER_ID, &offer.server.octets());
        })
    }

    /// Reads a datagram; `None` when it is no answer to this conversation.
    pub fn read(&self, datagram: &[u8]) -> Option<Answer> {
        let message = Message::decode(datagram).ok()?;
        let ours = message.op == Op::Reply
            && message.xid == self.xid
            && message.chaddr.starts_with(self.mac.as_bytes());
        let given = match message.message_type().filter(|_| ours)? {
            MessageType::Offer => false,
            MessageType::Ack => true,
            _ => return None,
        };
        let mask = message.options.address(code::SUBNET_MASK)?;
        let prefix = u32::from(mask).leading_ones();
        if u32::from(mask).count_ones() != prefix || message.yiaddr.is_unspecified() {
            return None;
        }
        let file = message.options.get(code::BOOT_FILE).unwrap_or(&message.file);
        let file = String::from_utf8_lossy(file).trim_end_matches('\0').to_owned();
        Some(Answer {
            address: (message.yiaddr, u8::try_from(prefix).ok()?),
            server: message.options.address(code::SERVER_ID)?,
            boot_file: Some(file).filter(|file| !file.is_empty()),
            given,
        })
    }

    fn message(&self, kind: MessageType, more: impl FnOnce(&mut Options)) -> Vec<u8> {
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, &[kind as u8]);
        options.put(
            code::PARAMETERS,
            &[code::SUBNET_MASK, code::ROUTER, code::DNS, code::BOOT_FILE, code::IPXE],
        );
        let class = format!("PXEClient:Arch:{:05}:UNDI:002001", self.architecture);
        options.put(code::CLASS, class.as_bytes());
        options.put(code::USER_CLASS, b"iPXE");
        options.put(code::ARCHITECTURE, &self.architecture.to_be_bytes());
        // A type byte of 0, then the GUID (RFC 4578, section 2.3).
        options.put(code::MACHINE_ID, &[&[0][..], &self.system_guid].concat());
        options.put(code::IPXE, &FEATURE_HTTP);
        more(&mut options);
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(self.mac.as_bytes());
        let none = Ipv4Addr::UNSPECIFIED;
        let message = Message {
            op: Op::Request,
            hardware_type: 1,
            hardware_len: 6,
            hops: 0,
            xid: self.xid,
            secs: 0,
            flags: BROADCAST,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options,
        };
        message.encode()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{
        super::{client::Client, reply::Request},
        *,
    };
    use crate::boots::Lease;

    fn query() -> Query {
        Query::new(MacAddr::from_bytes([0x52, 0x54, 0, 1, 2, 3]), [7; 16], 0, 0x1234)
    }

    fn lease() -> Lease {
        Lease {
            address: "192.0.2.10/24".parse().unwrap(),
            gateway: None,
            dns: Vec::new(),
            lease_seconds: 600,
            hostname: None,
        }
    }

    #[test]
    fn our_own_server_takes_it_for_ipxe_and_is_understood() {
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let url = "http://192.0.2.1/boot/52:54:00:01:02:03/script";
        let answered = |datagram: Vec<u8>, kind| {
            let request = Request::read(Message::decode(&datagram).unwrap()).unwrap();
            assert_eq!(request.client, Client::Ipxe);
            let (reply, _) = request.answer(kind, server, &lease(), Some(url));
            query().read(&reply).unwrap()
        };
        let offer = answered(query().discover(), MessageType::Offer);
        let address = (Ipv4Addr::new(192, 0, 2, 10), 24);
        let boot_file = Some(url.to_owned());
        assert_eq!(offer, Answer { address, server, boot_file, given: false });
        let given = answered(query().request(&offer), MessageType::Ack);
        assert_eq!(given, Answer { given: true, ..offer });
    }

    #[test]
    fn what_is_for_others_is_passed_over() {
        let other = Query { xid: 1, ..query() };
        let request = Request::read(Message::decode(&query().discover()).unwrap()).unwrap();
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let (reply, _) = request.answer(MessageType::Offer, server, &lease(), None);
        assert_eq!(other.read(&reply), None);
        assert_eq!(query().read(&reply).unwrap().boot_file, None);
        assert_eq!(query().read(&query().discover()), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in vec(any::<u8>(), 0..600)) {
            let _ = query().read(&bytes);
        }
    }
}
