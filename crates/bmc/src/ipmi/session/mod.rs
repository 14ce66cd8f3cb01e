//! The controller's side of RMCP+, as a value: datagrams in, datagrams and requests out.
//!
//! No socket, no clock, no machine. The shell calls [`Sessions::on_datagram`] with what it
//! received and *now* (time since any fixed moment), does what the returned [`Out`]s say, and
//! hands the answer to each delivered request back by [`Sessions::on_reply`].
//!
//! ```text
//!            Open Session            RAKP 1               RAKP 3, right
//! (nothing) ─────────────▶ opened ──────────▶ challenged ───────────────▶ session
//!     ▲                      │                    │ │                       │ │
//!     │      20 s, or more than 64 of an address  │ │ RAKP 3, wrong         │ │ sealed request:
//!     ├──────────────────────┴────────────────────┘ ▼                       │ │ executed once,
//!     ├───────────────────────────────────────── refused                    │ │ answered, also
//!     │                                  (every further RAKP 3 fails)       │ │ when it comes
//!     └── 60 s without a packet, Close Session, Cold Reset ─────────────────┘ │ again
//! ```
//! Specification: sections 6.12, 13.14 to 13.32 and 22.

mod active;
mod handshake;
pub mod limits;
mod own_commands;
mod serial;
pub mod window;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use self::{active::Session, handshake::Handshake, limits::Failures, serial::Serial};
use super::{
    command::table,
    completion::Completion,
    crypto::Mac,
    guid::Guid,
    msg::{
        lan::{CONTROLLER, LanRequest},
        session_header::PayloadType,
    },
    packet::{self, DATAGRAM_BYTES_MAX, Datagram, Packet},
    random::Random,
    suite::CipherSuite,
    wire::{Decode, Encode},
};
use crate::accounts::Accounts;

pub use own_commands::LAN_CHANNEL;
pub use serial::SerialId;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Send this.
    Send {
        /// To whom.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Have this answered, then call [`Sessions::on_reply`].
    Deliver {
        /// Goes with the answer.
        ticket: Ticket,
        /// The request; its sender may do this.
        request: Request,
    },
    /// The controller was told to start over.
    Reset(Reset),
    /// Somebody gave a name or a password that is wrong.
    LoginFailed {
        /// From where.
        from: SocketAddr,
    },
    /// Open the machine's serial port, then call [`Sessions::on_serial_opened`].
    OpenSerial(SerialId),
    /// Send a break on the machine's serial port.
    SerialBreak(SerialId),
}

/// How much a controller forgets when it starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// What is under way.
    Warm,
    /// All that is not kept, its sessions among it.
    Cold,
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    session: u32,
    serial: u64,
}

/// A command for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Network function.
    pub netfn: u8,
    /// Command.
    pub command: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub completion: Completion,
    /// What it gave.
    pub data: Vec<u8>,
}

impl Reply {
    /// Done, with data.
    #[must_use]
    pub fn ok(response: &impl Encode) -> Self {
        Self { completion: Completion::OK, data: response.to_bytes() }
    }

    /// A completion code and no data.
    #[must_use]
    pub fn code(completion: Completion) -> Self {
        Self { completion, data: Vec::new() }
    }
}

/// Every session and handshake of one controller.
#[derive(Debug)]
pub struct Sessions {
    accounts: Accounts,
    /// The machine's GUID, as on the wire.
    guid: [u8; 16],
    random: Random,
    /// Key of the keys of users that do not exist.
    nobody: Mac,
    half_open: HashMap<u32, Handshake>,
    sessions: HashMap<u32, Session>,
    failures: Failures,
    serial: Serial,
    count: u64,
}

impl Sessions {
    /// Nobody is logged in.
    #[must_use]
    pub fn new(accounts: impl Into<Accounts>, system_guid: Guid, mut random: Random) -> Self {
        let seed = [random.block(), random.block()].concat();
        Self {
            accounts: accounts.into(),
            guid: system_guid.to_wire(),
            random,
            nobody: Mac::new(CipherSuite::Suite17, &seed, &[b"nobody"]),
            half_open: HashMap::new(),
            sessions: HashMap::new(),
            failures: Failures::default(),
            serial: Serial::default(),
            count: 0,
        }
    }

    /// The UDP port to tell whoever asks; it is the controller's own.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.serial.udp_port = port;
        self
    }

    /// Takes one datagram; whatever it is, nothing worse than no answer comes of it.
    pub fn on_datagram(&mut self, bytes: &[u8], source: SocketAddr, now: Duration) -> Vec<Out> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Vec::new();
        }
        let answer = match Datagram::parse(bytes) {
            Ok(Datagram::Ping(ping)) => Some(packet::pong(ping.tag)),
            Ok(Datagram::V15 { header, payload }) => {
                let sessionless = header.authentication == 0 && header.session_id == 0;
                let message = sessionless.then(|| self.sessionless_message(payload)).flatten();
                message.map(|message| packet::plain_v15(&message))
            }
            Ok(Datagram::Plus(packet)) => return self.on_packet(&packet, source, now),
            Ok(Datagram::Pong(_)) | Err(_) => None,
        };
        answer.map(|bytes| Out::Send { to: source, bytes }).into_iter().collect()
    }

    fn on_packet(&mut self, packet: &Packet<'_>, source: SocketAddr, now: Duration) -> Vec<Out> {
        if packet.header.session_id != 0 {
            return self.on_session_packet(packet, source, now);
        }
        if packet.header.encrypted || packet.header.authenticated {
            return Vec::new();
        }
        match packet.header.payload_type {
            PayloadType::OpenSessionRequest => self.on_open_session(packet.payload, source, now),
            PayloadType::Rakp1 => self.on_rakp1(packet.payload, source, now),
            PayloadType::Rakp3 => self.on_rakp3(packet.payload, source, now),
            PayloadType::Ipmi => {
                let message = self.sessionless_message(packet.payload);
                let bytes = message.map(|message| packet::plain(PayloadType::Ipmi, &message));
                bytes.map(|bytes| Out::Send { to: source, bytes }).into_iter().collect()
            }
            PayloadType::Sol
            | PayloadType::OpenSessionResponse
            | PayloadType::Rakp2
            | PayloadType::Rakp4 => Vec::new(),
        }
    }

    /// The answer to a message outside of a session.
    fn sessionless_message(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let request = LanRequest::decode(payload).ok()?;
        let reply = if request.to == CONTROLLER {
            self.on_sessionless(request.netfn, request.command, &request.data)
        } else {
            Some(Reply::code(Completion::DESTINATION_UNAVAILABLE))
        };
        let reply = reply.unwrap_or_else(|| {
            Reply::code(match table::find(request.netfn, request.command) {
                Some(_) => Completion::PRIVILEGE_TOO_LOW,
                None => Completion::INVALID_COMMAND,
            })
        });
        Some(request.response(reply.completion, reply.data).to_bytes())
    }

    fn next_serial(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.count
    }

    /// When [`Sessions::on_deadline`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let handshakes = self.half_open.values().map(Handshake::ends_at);
        let sessions = self.sessions.values().map(Session::ends_at);
        handshakes.chain(sessions).chain(self.serial_deadline()).min()
    }

    /// Forgets the handshakes and sessions whose time is over; says again what got no answer.
    pub fn on_deadline(&mut self, now: Duration) -> Vec<Out> {
        self.half_open.retain(|_, handshake| handshake.ends_at() > now);
        self.sessions.retain(|_, session| session.ends_at() > now);
        self.send_serial(now)
    }

    /// How many handshakes are under way.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sessions.len()
    }
}
