//! DHCP (RFC 2131) for enrolled machines on one interface, with what network boot adds to it
//! (RFC 4578, PXE 2.1, UEFI 2.10 section 24.7).
//!
//! ```text
//! machine                      we
//!   DISCOVER (arch, class) →     enrolled?  no → silence, UnknownMac
//!                          ←  OFFER  its one address + boot file, when there is something to boot
//!   REQUEST (server id)    →     ours?      no → silence, ForeignDhcpServer
//!                          ←  ACK    or NAK when it wants an address that is not its own
//! ```
//! [`message`] is the codec, [`client`] tells who asks, [`reply`] decides, [`server`] has the
//! sockets, [`foreign`] looks for other servers; [`query`] is the machine's own half.

mod client;
mod foreign;
mod message;
mod query;
mod reply;
mod server;

pub use client::Client;
use message::MessageType;
pub use query::{Answer, Query};
pub(crate) use {
    foreign::{Watch, watch},
    server::{Dhcp, serve},
};

/// Decodes one datagram as server and watcher do, for the fuzzer.
pub(crate) fn decode_any(bytes: &[u8]) {
    if let Ok(message) = message::Message::decode(bytes) {
        let _ = message.encode();
        let _ = Query::new(undercloud_model::MacAddr::from_bytes([0; 6]), [0; 16], 0, message.xid)
            .read(bytes);
        let _ = foreign::server_of(&message);
        let _ = reply::Request::read(message);
    }
}

/// Answers one datagram in every way that the server has, for the fuzzer.
///
/// # Panics
/// When an answer is none, or the machine's own half does not understand it.
pub(crate) fn answer_any(bytes: &[u8], lease: &crate::Lease) {
    let Ok(request) = message::Message::decode(bytes).map(reply::Request::read) else { return };
    let Ok(request) = request else { return };
    let server = std::net::Ipv4Addr::new(192, 0, 2, 1);
    for kind in [MessageType::Offer, MessageType::Ack, MessageType::Nak] {
        for boot in [None, Some("http://192.0.2.1/boot")] {
            let (answer, to) = request.answer(kind, server, lease, boot);
            let read = message::Message::decode(&answer);
            assert!(read.is_ok_and(|read| read.op == message::Op::Reply), "{request:?}");
            assert!(to.ip().is_broadcast() || *to.ip() == lease.address.addr(), "to {to}");
            let understood = Query::new(request.mac, [0; 16], 0, request.xid()).read(&answer);
            let expected = kind != MessageType::Nak && request.want != reply::Want::Options;
            assert_eq!(understood.is_some(), expected, "{kind:?}: {request:?}");
        }
    }
}
