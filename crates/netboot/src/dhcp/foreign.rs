//! Looks for DHCP servers that are not us. A second server on the provisioning network sends
//! machines elsewhere, now and then, which nobody finds without being told.
//!
//! Asks like a machine nobody knows (a random, locally administered address), at the start and then
//! every ten minutes, and hears every broadcast answer to anybody in between.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use undercloud_model::MacAddr;
use undercloud_serve::{Datagrams, Patience, receive};

use super::message::{Message, MessageType, Op, Options, code};
use crate::{boots::BootEventKind, events::Events, rate::Rate};

/// How often to ask.
const PROBE_EVERY: Duration = Duration::from_secs(600);
/// A probe may get lost, and a bridge drops what comes in its first seconds.
const PROBES_EACH: u32 = 3;
/// Between the probes of one round.
const PROBE_AGAIN: Duration = Duration::from_secs(4);

/// What server and watcher share.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    own: Ipv4Addr,
    probe_mac: MacAddr,
    reported: Mutex<Rate<Ipv4Addr>>,
}

impl Watch {
    /// # Errors
    /// The kernel gives no random bytes.
    pub(crate) fn new(own: Ipv4Addr) -> Result<Self, getrandom::Error> {
        let mut mac = [0u8; 6];
        getrandom::fill(&mut mac)?;
        mac[0] = mac[0] & 0xfc | 0x02; // locally administered, one interface (IEEE 802c)
        let reported = Mutex::new(Rate::new(1, PROBE_EVERY, 64));
        Ok(Self(Arc::new(Inner { own, probe_mac: MacAddr::from_bytes(mac), reported })))
    }

    /// Whether a request is ours, heard on our own other socket.
    pub(crate) fn is_own_probe(&self, mac: MacAddr) -> bool {
        mac == self.0.probe_mac
    }

    /// Tells of a server unless it is us or was told of lately.
    pub(crate) fn report(&self, server: Ipv4Addr, now: Instant, events: &Events) {
        let mut reported = self.0.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if server != self.0.own && reported.allow(server, now) {
            tracing::warn!(%server, "another DHCP server answers on this network");
            events.tell(None, BootEventKind::ForeignDhcpServer { address: server });
        }
    }

    fn probe(&self, xid: u32) -> Vec<u8> {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(self.0.probe_mac.as_bytes());
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, &[MessageType::Discover as u8]);
        options.put(code::PARAMETERS, &[code::SUBNET_MASK, code::ROUTER, code::DNS]);
        let none = Ipv4Addr::UNSPECIFIED;
        let message = Message {
            op: Op::Request,
            hardware_type: 1,
            hardware_len: 6,
            hops: 0,
            xid,
            secs: 0,
            flags: 0x8000, // answer by broadcast: we have no address to be answered at
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

/// The server that sent this answer. Without option 54 it is no DHCP server (RFC 2131, table 3).
pub(super) fn server_of(message: &Message) -> Option<Ipv4Addr> {
    let answer =
        matches!(message.message_type()?, MessageType::Offer | MessageType::Ack | MessageType::Nak);
    if message.op != Op::Reply || !answer {
        return None;
    }
    message.options.address(code::SERVER_ID)
}

/// Watches on `socket`, which is bound to port 68, and asks at `servers`, until it is dropped.
pub(crate) async fn watch(
    socket: impl Datagrams,
    servers: SocketAddr,
    watch: Watch,
    events: Events,
) {
    let listen = async {
        let mut buffer = [0u8; 2048];
        let mut patience = Patience::new("watch for DHCP servers");
        loop {
            let (len, _) = receive(&socket, &mut buffer, &mut patience).await;
            if let Some(server) = Message::decode(&buffer[..len]).ok().as_ref().and_then(server_of)
            {
                watch.report(server, Instant::now(), &events);
            }
        }
    };
    let ask = async {
        let mut rounds = interval(PROBE_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let mut again = interval(PROBE_AGAIN);
            for xid in 1..=PROBES_EACH {
                again.tick().await;
                if let Err(error) = socket.send_to(&watch.probe(xid), servers).await {
                    tracing::debug!(%error, "probe for foreign DHCP servers not sent");
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = listen => {}
        () = ask => {}
    }
}
