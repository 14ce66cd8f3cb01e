//! Serial over LAN in a session: who has the machine's serial port, and what is under way on it.
//!
//! ```text
//!          Activate Payload                 the shell has the port
//! (free) ───────────────────▶ opening ─────────────────────────────▶ active
//!   ▲                           │  Deactivate Payload of any session,   │
//!   └───────────────────────────┴─ the session's end, the port's end ───┘
//! ```
//! The shell holds the port itself: it opens one when [`Out::OpenSerial`] says so, and lets it go
//! as soon as [`Sessions::serial`] does not name it any more.

use std::time::Duration;

use super::{Out, Reply, Sessions, Ticket, own_commands};
use crate::ipmi::{
    completion::Completion,
    msg::{
        activate_payload::{self, refusal},
        deactivate_payload, get_channel_payload_support, get_channel_payload_version,
        get_payload_activation_status, get_payload_instance_info,
        session_header::PayloadType,
        sol_packet::{CHARACTERS_MAX, HEADER_BYTES, SolPacket, operation, status},
    },
    sol::{INSTANCE, PAYLOAD_SOL, endpoint::Endpoint},
    wire::{Decode, Encode},
};

/// Longest payload either way.
const PAYLOAD_BYTES_MAX: u16 = 255;
const _: () = assert!(PAYLOAD_BYTES_MAX as usize == CHARACTERS_MAX + HEADER_BYTES);
/// The bit of the request's auxiliary data that asks for encryption.
const ENCRYPTED: u8 = 0x80;
/// The machine's first serial port.
const PORT_NUMBER: u8 = 1;

/// The one serial port of a controller.
#[derive(Debug, Default)]
pub(super) struct Serial {
    /// UDP port of the controller, told to whoever activates the payload.
    pub(super) udp_port: u16,
    active: Option<Box<Active>>,
    serial: u64,
}

#[derive(Debug)]
struct Active {
    session: u32,
    /// Tells one opening of the port from the next.
    id: SerialId,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Opening(Ticket),
    Open(Endpoint),
}

/// One opening of the machine's serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialId(u64);

impl Sessions {
    /// Which opening of the serial port is in use; the shell lets go of any other.
    #[must_use]
    pub fn serial(&self) -> Option<SerialId> {
        let active = self.serial.active.as_ref()?;
        self.sessions.contains_key(&active.session).then_some(active.id)
    }

    /// How many characters of the machine would be taken now.
    #[must_use]
    pub fn serial_room(&self) -> usize {
        self.endpoint().map_or(0, Endpoint::room)
    }

    /// The characters for the machine.
    #[must_use]
    pub fn serial_waiting(&self) -> &[u8] {
        self.endpoint().map(Endpoint::waiting).unwrap_or_default()
    }

    /// The machine said this; at most [`Sessions::serial_room`].
    pub fn on_serial_characters(&mut self, characters: &[u8], now: Duration) -> Vec<Out> {
        if let Some(endpoint) = self.endpoint_mut() {
            endpoint.offer(characters);
        }
        self.send_serial(now)
    }

    /// The machine took so many of [`Sessions::serial_waiting`].
    pub fn on_serial_taken(&mut self, characters: usize, now: Duration) -> Vec<Out> {
        let answer = self.endpoint_mut().and_then(|endpoint| endpoint.drain(characters));
        let mut outs: Vec<Out> = answer.and_then(|it| self.seal_serial(&it)).into_iter().collect();
        outs.extend(self.send_serial(now));
        outs
    }

    /// The port could be opened, or not.
    pub fn on_serial_opened(&mut self, id: SerialId, outcome: Result<(), Completion>) -> Vec<Out> {
        let Some(active) = self.serial.active.as_mut().filter(|active| active.id == id) else {
            return Vec::new();
        };
        let Stage::Opening(ticket) = active.stage else { return Vec::new() };
        match outcome {
            Ok(()) => {
                active.stage = Stage::Open(Endpoint::default());
                let response = activate_payload::Response {
                    auxiliary: [0; 4],
                    inbound_bytes: PAYLOAD_BYTES_MAX,
                    outbound_bytes: PAYLOAD_BYTES_MAX,
                    port: self.serial.udp_port,
                    vlan: 0xffff,
                };
                self.on_reply(ticket, &Reply::ok(&response))
            }
            Err(code) => {
                self.serial.active = None;
                self.on_reply(ticket, &Reply::code(code))
            }
        }
    }

    /// The machine took its port back.
    pub fn on_serial_ended(&mut self) -> Vec<Out> {
        self.deactivate()
    }

    /// A packet of Serial over LAN in a session.
    pub(super) fn on_sol_payload(&mut self, id: u32, payload: &[u8], now: Duration) -> Vec<Out> {
        let Ok(packet) = SolPacket::decode(payload) else { return Vec::new() };
        let owner = self.serial.active.as_ref().is_some_and(|active| active.session == id);
        let Some(endpoint) = self.endpoint_mut().filter(|_| owner) else {
            // So that a console which missed the end learns of it.
            return self.seal_to(id, &ended(packet.sequence)).into_iter().collect();
        };
        let received = endpoint.on_packet(packet, now);
        if received.flags & operation::FLUSH_INBOUND != 0 {
            endpoint.flush_inbound();
        }
        if received.flags & operation::FLUSH_OUTBOUND != 0 {
            endpoint.flush_outbound();
        }
        let answers: Vec<SolPacket> = received.answers;
        let mut outs: Vec<Out> =
            answers.iter().filter_map(|answer| self.seal_serial(answer)).collect();
        if received.flags & operation::BREAK != 0 {
            outs.extend(self.serial().map(Out::SerialBreak));
        }
        outs.extend(self.send_serial(now));
        outs
    }

    /// What is due on the line.
    pub(super) fn send_serial(&mut self, now: Duration) -> Vec<Out> {
        let packet = self.endpoint_mut().and_then(|endpoint| endpoint.send(now));
        packet.and_then(|packet| self.seal_serial(&packet)).into_iter().collect()
    }

    pub(super) fn serial_deadline(&self) -> Option<Duration> {
        self.endpoint().and_then(Endpoint::next_deadline)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.serial()?;
        match &self.serial.active.as_ref()?.stage {
            Stage::Opening(_) => None,
            Stage::Open(endpoint) => Some(endpoint),
        }
    }

    fn endpoint_mut(&mut self) -> Option<&mut Endpoint> {
        self.serial()?;
        match &mut self.serial.active.as_mut()?.stage {
            Stage::Opening(_) => None,
            Stage::Open(endpoint) => Some(endpoint),
        }
    }

    fn seal_serial(&mut self, packet: &SolPacket) -> Option<Out> {
        let id = self.serial.active.as_ref()?.session;
        self.seal_to(id, packet)
    }

    fn seal_to(&mut self, id: u32, packet: &SolPacket) -> Option<Out> {
        let session = self.sessions.get_mut(&id)?;
        Some(session.send(PayloadType::Sol, &packet.to_bytes(), &mut self.random))
    }

    /// Tells the console, and frees the port.
    fn deactivate(&mut self) -> Vec<Out> {
        let Some(active) = self.serial.active.take() else { return Vec::new() };
        let told = self.seal_to(active.session, &ended(0));
        let refused = match active.stage {
            Stage::Opening(ticket) => self.on_reply(ticket, &Reply::code(Completion::NOT_PRESENT)),
            Stage::Open(_) => Vec::new(),
        };
        told.into_iter().chain(refused).collect()
    }

    pub(super) fn activate_payload(&mut self, ticket: Ticket, data: &[u8]) -> Vec<Out> {
        let refused = match own_commands::read::<activate_payload::Request>(data) {
            Err(refusal) => Some(refusal),
            Ok(request) if !is_serial(request.payload, request.instance) => {
                Some(Reply::code(Completion::INVALID_FIELD))
            }
            Ok(request) if request.auxiliary[0] & ENCRYPTED == 0 => {
                Some(Reply::code(refusal::ENCRYPTION_NEEDED))
            }
            Ok(_) if self.serial().is_some() => Some(Reply::code(refusal::ALREADY_ACTIVE)),
            Ok(_) => None,
        };
        if let Some(refused) = refused {
            return self.on_reply(ticket, &refused);
        }
        self.serial.serial = self.serial.serial.wrapping_add(1);
        let id = SerialId(self.serial.serial);
        let stage = Stage::Opening(ticket);
        self.serial.active = Some(Box::new(Active { session: ticket.session, id, stage }));
        vec![Out::OpenSerial(id)]
    }

    pub(super) fn deactivate_payload(&mut self, ticket: Ticket, data: &[u8]) -> Vec<Out> {
        let code = match own_commands::read::<deactivate_payload::Request>(data) {
            Err(refusal) => return self.on_reply(ticket, &refusal),
            Ok(request) if !is_serial(request.payload, request.instance) => {
                Completion::INVALID_FIELD
            }
            Ok(_) if self.serial().is_none() => deactivate_payload::ALREADY_INACTIVE,
            Ok(_) => Completion::OK,
        };
        let mut outs = self.on_reply(ticket, &Reply::code(code));
        if code == Completion::OK {
            outs.extend(self.deactivate());
        }
        outs
    }

    pub(super) fn payload_status(&self, data: &[u8]) -> Result<Reply, Reply> {
        let request: get_payload_activation_status::Request = own_commands::read(data)?;
        if request.payload != PAYLOAD_SOL {
            return Err(Reply::code(Completion::INVALID_FIELD));
        }
        let active = u16::from(self.serial().is_some());
        Ok(Reply::ok(&get_payload_activation_status::Response { capacity: 1, active }))
    }

    pub(super) fn payload_instance(&self, data: &[u8]) -> Result<Reply, Reply> {
        let request: get_payload_instance_info::Request = own_commands::read(data)?;
        if !is_serial(request.payload, request.instance) {
            return Err(Reply::code(Completion::INVALID_FIELD));
        }
        let active = self.serial.active.as_ref().filter(|_| self.serial().is_some());
        let session_id = active.map_or(0, |active| active.session);
        let details = [PORT_NUMBER, 0, 0, 0, 0, 0, 0, 0];
        Ok(Reply::ok(&get_payload_instance_info::Response { session_id, details }))
    }
}

pub(super) fn payload_support(data: &[u8]) -> Result<Reply, Reply> {
    let request: get_channel_payload_support::Request = own_commands::read(data)?;
    if !own_commands::is_lan(request.channel) {
        return Err(Reply::code(Completion::INVALID_FIELD));
    }
    // IPMI and Serial over LAN; Open Session and RAKP 1 to 4, both ways.
    let response =
        get_channel_payload_support::Response { standard: 0x03, session: 0x3f, vendor: 0 };
    Ok(Reply::ok(&response))
}

pub(super) fn payload_version(data: &[u8]) -> Result<Reply, Reply> {
    let request: get_channel_payload_version::Request = own_commands::read(data)?;
    if !own_commands::is_lan(request.channel) {
        return Err(Reply::code(Completion::INVALID_FIELD));
    }
    match request.payload {
        0x00 | PAYLOAD_SOL | 0x10..=0x15 => {
            Ok(Reply::ok(&get_channel_payload_version::Response { major: 1, minor: 0 }))
        }
        _ => Err(Reply::code(get_channel_payload_version::NOT_AVAILABLE)),
    }
}

fn is_serial(payload: u8, instance: u8) -> bool {
    payload == PAYLOAD_SOL && instance == INSTANCE
}

/// "Not active (any more)", and not acknowledged if there was something.
fn ended(acknowledged: u8) -> SolPacket {
    let nack = if acknowledged == 0 { 0 } else { crate::ipmi::msg::sol_packet::NACK };
    SolPacket {
        sequence: 0,
        acknowledged,
        accepted: 0,
        flags: status::DEACTIVATED | nack,
        characters: Vec::new(),
    }
}
