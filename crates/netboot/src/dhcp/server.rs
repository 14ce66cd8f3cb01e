//! The socket on port 67: takes requests, asks [`Boots`], answers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;
use undercloud_model::MacAddr;
use undercloud_serve::{Connections, Datagrams, Patience, receive};

use super::{
    Client, Watch,
    message::{DecodeError, Message, MessageType},
    reply::{Request, Unread, Want},
};
use crate::{
    ANSWER_DEADLINE,
    boots::{BootEventKind as Kind, Boots, Lease},
    events::Events,
    rate::Rate,
};

/// Requests that are answered at the same time; more are dropped, and clients ask again.
const REQUESTS_MAX: usize = 64;
/// An Ethernet frame's worth.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// What the server needs.
#[derive(Clone)]
pub(crate) struct Dhcp {
    pub(crate) server: Ipv4Addr,
    pub(crate) http_port: u16,
    pub(crate) boots: Arc<dyn Boots>,
    pub(crate) events: Events,
    pub(crate) watch: Watch,
    limits: Arc<Mutex<Limits>>,
}

struct Limits {
    unknown: Rate<MacAddr>,
    machine: Rate<MacAddr>,
}

impl Dhcp {
    pub(crate) fn new(
        server: Ipv4Addr,
        http_port: u16,
        boots: Arc<dyn Boots>,
        events: Events,
        watch: Watch,
    ) -> Self {
        let limits = Limits {
            unknown: Rate::new(1, Duration::from_secs(60), 64),
            machine: Rate::new(32, Duration::from_millis(250), 4096),
        };
        Self { server, http_port, boots, events, watch, limits: Arc::new(Mutex::new(limits)) }
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that somebody's message is not answered.
    fn refuse(&self, unread: Unread, from: SocketAddr) {
        let from = match from.ip().to_canonical() {
            IpAddr::V4(from) => from,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        match unread {
            // Of another server, which the watch tells of.
            Unread::Answer => {}
            Unread::Relayed(mac, relay) => {
                self.events.refuse(Some(mac), relay, Kind::DhcpRelayed { relay });
            }
            Unread::Broken(mac, why) => {
                self.events.refuse(mac, from, Kind::DhcpUnreadable { why });
            }
        }
    }

    /// Answers one request; `None` is silence.
    async fn answer(&self, request: &Request, now: Instant) -> Option<(Vec<u8>, SocketAddr)> {
        let mac = request.mac;
        if self.watch.is_own_probe(mac) {
            return None;
        }
        let Ok(Some(lease)) = timeout(ANSWER_DEADLINE, self.boots.lease(mac)).await else {
            if self.limits().unknown.allow(mac, now) {
                self.events.tell(Some(mac), Kind::UnknownMac);
            }
            return None;
        };
        if !self.limits().machine.allow(mac, now) {
            return None;
        }
        let address = lease.address.addr();
        match request.want {
            Want::Offer => {
                self.events.tell(Some(mac), Kind::DhcpDiscover { client: request.client });
                let boot = self.boot_file(request).await;
                self.events.learn(address, mac);
                self.events.tell(Some(mac), Kind::DhcpOffer { address, boot: boot.clone() });
                Some(self.reply(request, MessageType::Offer, &lease, boot.as_deref()))
            }
            Want::Address { server: Some(other), .. } if other != self.server => {
                self.watch.report(other, now, &self.events);
                None
            }
            Want::Address { address: requested, .. } if requested != address => {
                self.events.tell(Some(mac), Kind::DhcpNak { requested });
                Some(self.reply(request, MessageType::Nak, &lease, None))
            }
            Want::Address { .. } => {
                let boot = self.boot_file(request).await;
                self.events.learn(address, mac);
                self.events.tell(Some(mac), Kind::DhcpAck { address, boot: boot.clone() });
                Some(self.reply(request, MessageType::Ack, &lease, boot.as_deref()))
            }
            Want::Options => {
                let boot = self.boot_file(request).await;
                self.events.tell(Some(mac), Kind::DhcpInform);
                Some(self.reply(request, MessageType::Ack, &lease, boot.as_deref()))
            }
            // The address stays the machine's: there is nothing to free.
            Want::Release => {
                self.events.tell(Some(mac), Kind::DhcpRelease);
                None
            }
            Want::Decline { address } => {
                self.events.tell(Some(mac), Kind::DhcpDecline { address });
                None
            }
        }
    }

    fn reply(
        &self,
        request: &Request,
        kind: MessageType,
        lease: &Lease,
        boot: Option<&str>,
    ) -> (Vec<u8>, SocketAddr) {
        let (bytes, to) = request.answer(kind, self.server, lease, boot);
        (bytes, SocketAddr::V4(to))
    }

    /// What this client loads next; nothing when there is nothing to boot.
    async fn boot_file(&self, request: &Request) -> Option<String> {
        let (server, port) = (self.server, self.http_port);
        let file = match request.client {
            Client::System => return None,
            Client::Unsupported(architecture) => {
                self.events.tell(Some(request.mac), Kind::UnsupportedFirmware { architecture });
                return None;
            }
            Client::BiosPxe => crate::UNDIONLY.to_owned(),
            Client::UefiPxe => crate::SNPONLY.to_owned(),
            Client::UefiHttp => format!("http://{server}:{port}/efi/{}", crate::SNPONLY),
            Client::Ipxe => {
                format!("http://{server}:{port}/boot/{}.ipxe", request.mac.hyphenated())
            }
        };
        let target = timeout(ANSWER_DEADLINE, self.boots.boot(request.mac)).await.ok().flatten();
        target.map(|_| file)
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(socket: impl Datagrams, dhcp: Dhcp) {
    let socket = Arc::new(socket);
    let mut answers = Connections::default();
    let mut buffer = [0u8; DATAGRAM_BYTES_MAX];
    let mut patience = Patience::new("DHCP");
    loop {
        let (len, from) = receive(&*socket, &mut buffer, &mut patience).await;
        let unread = |error: DecodeError| Unread::Broken(None, error.to_string());
        let request = match Message::decode(&buffer[..len]).map_err(unread).and_then(Request::read)
        {
            Ok(request) if answers.count() < REQUESTS_MAX => request,
            Ok(_) => continue,
            Err(unread) => {
                dhcp.refuse(unread, from);
                continue;
            }
        };
        let (socket, dhcp) = (Arc::clone(&socket), dhcp.clone());
        answers.spawn(async move {
            if let Some((bytes, to)) = dhcp.answer(&request, Instant::now()).await
                && let Err(error) = socket.send_to(&bytes, to).await
            {
                tracing::warn!(mac = %request.mac, %to, %error, "DHCP answer not sent");
            }
        });
    }
}
