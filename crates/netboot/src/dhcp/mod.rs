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
pub use query::{Answer, Query};
pub(crate) use {
    foreign::{Watch, watch},
    server::{Dhcp, serve},
};

/// Decodes one datagram as server and watcher do, for the fuzzer.
#[doc(hidden)]
pub fn decode_any(bytes: &[u8]) {
    if let Ok(message) = message::Message::decode(bytes) {
        let _ = message.encode();
        let _ = Query::new(undercloud_model::MacAddr::from_bytes([0; 6]), [0; 16], 0, message.xid)
            .read(bytes);
        let _ = foreign::server_of(&message);
        let _ = reply::Request::read(message);
    }
}
