//! What a request is answered with. Pure: no socket, no clock.
//!
//! Nothing is remembered between messages: an address belongs to a machine for ever, so an offer
//! needs no record, and a restart of the daemon loses nothing.

use std::net::{Ipv4Addr, SocketAddrV4};

use undercloud_model::MacAddr;

use super::{
    Client,
    message::{Message, MessageType, code},
};
use crate::boots::Lease;

/// Where clients listen.
const CLIENT_PORT: u16 = 68;
/// `PXE_DISCOVERY_CONTROL` = 8: take the boot file from this offer, ask no boot server, show no
/// menu (PXE specification 2.1, table 2-1). Without it some ROMs search for 60 seconds.
const PXE_USE_THIS_OFFER: [u8; 4] = [6, 1, 8, 255];
/// iPXE's `no-pxedhcp`: do not wait three seconds for a proxy.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];
/// Name servers that are sent.
const DNS_MAX: usize = 8;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// To hear what there is.
    Offer,
    /// This address (`RFC 2131`, table 4); `server` is the one it chose, when it did.
    Address { address: Ipv4Addr, server: Option<Ipv4Addr> },
    /// Options for an address that it has.
    Options,
    /// To give its address back.
    Release,
    /// To report that somebody else uses its address.
    Decline { address: Ipv4Addr },
}

/// Why a message is no request that concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// A server's.
    Answer,
    /// A relay's, of another network.
    Relayed(MacAddr, Ipv4Addr),
    /// Nothing can be made of it; whose it is, where it says that, and why.
    Broken(Option<MacAddr>, String),
}

/// A request that concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) mac: MacAddr,
    pub(crate) want: Want,
    pub(crate) client: Client,
    message: Message,
}

impl Request {
    /// Reads a client's message from an Ethernet interface on this very network.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(message: Message) -> Result<Self, Unread> {
        use super::message::Op;
        if message.op != Op::Request {
            return Err(Unread::Answer);
        }
        let mac = MacAddr::from_bytes(message.mac_bytes());
        if !message.giaddr.is_unspecified() {
            return Err(Unread::Relayed(mac, message.giaddr));
        }
        let (kind, length) = (message.hardware_type, message.hardware_len);
        if kind != 1 || length != 6 {
            let why = format!("hardware type {kind} with {length} bytes of address, not Ethernet");
            return Err(Unread::Broken(None, why));
        }
        if mac.as_bytes()[0] & 1 == 1 || *mac.as_bytes() == [0; 6] {
            return Err(Unread::Broken(None, format!("{mac} is nobody's own address")));
        }
        let requested = message.options.address(code::REQUESTED_ADDRESS);
        let Some(kind) = message.message_type() else {
            return Err(Unread::Broken(Some(mac), "no message type (option 53)".to_owned()));
        };
        let want = match kind {
            MessageType::Discover => Want::Offer,
            MessageType::Request => {
                let address = requested.unwrap_or(message.ciaddr);
                Want::Address { address, server: message.options.address(code::SERVER_ID) }
            }
            MessageType::Inform => Want::Options,
            MessageType::Release => Want::Release,
            MessageType::Decline => {
                Want::Decline { address: requested.unwrap_or(Ipv4Addr::UNSPECIFIED) }
            }
            MessageType::Offer | MessageType::Ack | MessageType::Nak => {
                return Err(Unread::Answer);
            }
        };
        let client = Client::of(&message);
        Ok(Self { mac, want, client, message })
    }

    /// The conversation's number.
    pub(super) fn xid(&self) -> u32 {
        self.message.xid
    }

    /// The answer, and where it goes.
    pub(crate) fn answer(
        &self,
        kind: MessageType,
        server: Ipv4Addr,
        lease: &Lease,
        boot: Option<&str>,
    ) -> (Vec<u8>, SocketAddrV4) {
        let mut reply = self.message.reply();
        reply.options.put(code::MESSAGE_TYPE, &[kind as u8]);
        reply.options.put(code::SERVER_ID, &server.octets());
        if let Some(id) = self.message.options.get(code::MACHINE_ID) {
            reply.options.put(code::MACHINE_ID, id); // RFC 4578, section 2.3: as it came
        }
        if kind == MessageType::Nak {
            return (reply.encode(), SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT));
        }
        if self.want != Want::Options {
            reply.yiaddr = lease.address.addr();
            put_times(&mut reply, lease.lease_seconds);
        }
        reply.ciaddr = match kind {
            MessageType::Ack => self.message.ciaddr,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        put_network(&mut reply, lease);
        // RFC 2132, section 8.3: we serve it beside all else.
        reply.options.put(code::NTP_SERVERS, &server.octets());
        if self.client == Client::Ipxe {
            reply.options.put(code::IPXE, &IPXE_NO_PROXY);
        }
        if let Some(boot) = boot {
            put_boot(&mut reply, self.client, server, boot);
        }
        // Broadcast unless the client has an address: one without cannot answer our ARP.
        let to = match self.message.ciaddr {
            Ipv4Addr::UNSPECIFIED => Ipv4Addr::BROADCAST,
            _ => lease.address.addr(),
        };
        (reply.encode(), SocketAddrV4::new(to, CLIENT_PORT))
    }
}

fn put_times(reply: &mut Message, seconds: u32) {
    reply.options.put(code::LEASE_TIME, &seconds.to_be_bytes());
    reply.options.put(code::RENEWAL_TIME, &(seconds / 2).to_be_bytes());
    reply.options.put(code::REBINDING_TIME, &(seconds - seconds / 8).to_be_bytes());
}

fn put_network(reply: &mut Message, lease: &Lease) {
    reply.options.put(code::SUBNET_MASK, &lease.address.netmask().octets());
    reply.options.put(code::BROADCAST, &lease.address.broadcast().octets());
    if let Some(gateway) = lease.gateway {
        reply.options.put(code::ROUTER, &gateway.octets());
    }
    if !lease.dns.is_empty() {
        let dns = lease.dns.iter().take(DNS_MAX);
        reply.options.put(code::DNS, &dns.flat_map(Ipv4Addr::octets).collect::<Vec<_>>());
    }
    if let Some(name) = lease.hostname.as_deref().filter(|name| (1..=63).contains(&name.len())) {
        reply.options.put(code::HOST_NAME, name.as_bytes());
    }
}

fn put_boot(reply: &mut Message, client: Client, server: Ipv4Addr, boot: &str) {
    match client {
        Client::BiosPxe | Client::UefiPxe => {
            reply.options.put(code::CLASS, b"PXEClient");
            reply.options.put(code::VENDOR, &PXE_USE_THIS_OFFER);
        }
        Client::UefiHttp => reply.options.put(code::CLASS, b"HTTPClient"),
        Client::Ipxe => {}
        Client::System | Client::Unsupported(_) => return,
    }
    reply.siaddr = server;
    reply.sname = server.to_string().into_bytes();
    reply.file = boot.as_bytes().to_vec();
    reply.options.put(code::TFTP_SERVER, server.to_string().as_bytes());
    // Plain ROMs read on behind a name without an end: the next option is then a part of it. UEFI's
    // HTTP boot and iPXE go by the length.
    let end: &[u8] = match client {
        Client::BiosPxe | Client::UefiPxe => &[0],
        _ => &[],
    };
    reply.options.put(code::BOOT_FILE, &[boot.as_bytes(), end].concat());
}

#[cfg(test)]
mod tests;
