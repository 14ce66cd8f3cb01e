//! An open session: unsealing requests, executing each of them once, sealing answers.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use super::{
    Out, Reply, Request, Sessions, Ticket,
    limits::{COLD_RESET_DELAY, DUPLICATE_AGE_MAX, IDLE_MAX, RECENT_MAX},
    window::{Seen, Window},
};
use crate::ipmi::{
    command::table::{self, Effect, Executor},
    completion::Completion,
    crypto::SessionKeys,
    msg::{
        lan::{CONTROLLER, LanRequest},
        session_header::PayloadType,
    },
    packet::{self, Packet},
    privilege::Privilege,
    random::Random,
    wire::{Decode, Encode},
};

/// The last message of the handshake, for when its answer was lost.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) rakp3: Vec<u8>,
    pub(super) rakp4: Vec<u8>,
}

/// One open session.
#[derive(Debug)]
pub(super) struct Session {
    console_id: u32,
    keys: SessionKeys,
    pub(super) privilege: Privilege,
    pub(super) limit: Privilege,
    /// Slot of its user.
    pub(super) slot: u8,
    /// Where its last fresh packet came from.
    pub(super) source: SocketAddr,
    last_used: Duration,
    /// When it ends even if it is used: the controller was told to start over.
    ends_before: Option<Duration>,
    window: Window,
    sequence_out: u32,
    opening: Option<Opening>,
    recent: VecDeque<Recent>,
}

/// A request that is under way, or whose answer may have been lost.
#[derive(Debug)]
struct Recent {
    serial: u64,
    packet_sequence: u32,
    at: Duration,
    request: LanRequest,
    effect: Effect,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    message: Vec<u8>,
    sealed: Vec<u8>,
}

impl Session {
    pub(super) fn new(
        console_id: u32,
        keys: SessionKeys,
        limit: Privilege,
        source: SocketAddr,
        now: Duration,
        opening: Opening,
    ) -> Self {
        Self {
            console_id,
            keys,
            privilege: limit.min(Privilege::User),
            limit,
            slot: 0,
            source,
            last_used: now,
            ends_before: None,
            window: Window::default(),
            sequence_out: 0,
            opening: Some(opening),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn of_slot(self, slot: u8) -> Self {
        Self { slot, ..self }
    }

    pub(super) fn ends_at(&self) -> Duration {
        let idle = self.last_used + IDLE_MAX;
        self.ends_before.map_or(idle, |end| end.min(idle))
    }

    pub(super) fn end_soon(&mut self, now: Duration) {
        self.ends_before = Some(now + COLD_RESET_DELAY);
    }

    /// RAKP 4 once more, if `rakp3` is the message that opened the session.
    pub(super) fn opening(&self, rakp3: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        let opening = self.opening.as_ref().filter(|_| source == self.source)?;
        (opening.rakp3 == rakp3).then(|| opening.rakp4.clone())
    }

    fn seal(&mut self, message: &[u8], random: &mut Random) -> Vec<u8> {
        self.seal_as(PayloadType::Ipmi, message, random)
    }

    fn seal_as(&mut self, kind: PayloadType, payload: &[u8], random: &mut Random) -> Vec<u8> {
        self.sequence_out = self.sequence_out.wrapping_add(1).max(1);
        let (id, sequence) = (self.console_id, self.sequence_out);
        packet::seal_as(kind, &self.keys, id, sequence, payload, &random.block())
    }

    /// A payload to where the session's last packet came from.
    pub(super) fn send(&mut self, kind: PayloadType, payload: &[u8], random: &mut Random) -> Out {
        let bytes = self.seal_as(kind, payload, random);
        Out::Send { to: self.source, bytes }
    }

    /// The answer to a packet that was seen before, byte for byte; nothing is executed.
    fn answer_again(&self, packet_sequence: u32) -> Option<Vec<u8>> {
        let recent = self.recent.iter().find(|it| it.packet_sequence == packet_sequence)?;
        Some(recent.answer.as_ref()?.sealed.clone())
    }

    /// A request of the same number and the same bytes in a packet of its own: how most clients
    /// retransmit. `Some` when it must not be executed (again), with the answer if there is one.
    fn duplicate(&self, request: &LanRequest, now: Duration) -> Option<Option<Vec<u8>>> {
        let young = |it: &&Recent| it.at + DUPLICATE_AGE_MAX > now && it.request == *request;
        let recent = self.recent.iter().rev().find(young)?;
        match (&recent.answer, recent.effect) {
            (None, _) => Some(None),
            (Some(answer), Effect::Change) => Some(Some(answer.message.clone())),
            // What was read may have changed since: read it again.
            (Some(_), Effect::Read) => None,
        }
    }

    /// Room in the memory of requests; `false` when all of them are still under way.
    fn make_room(&mut self) -> bool {
        if self.recent.len() < RECENT_MAX {
            return true;
        }
        match self.recent.iter().position(|it| it.answer.is_some()) {
            Some(oldest) => self.recent.remove(oldest).is_some(),
            None => false,
        }
    }
}

impl Sessions {
    pub(super) fn on_session_packet(
        &mut self,
        packet: &Packet<'_>,
        source: SocketAddr,
        now: Duration,
    ) -> Vec<Out> {
        let id = packet.header.session_id;
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        if session.ends_at() <= now {
            self.sessions.remove(&id);
            return Vec::new();
        }
        let Some(payload) = packet.open(&session.keys) else { return Vec::new() };
        match session.window.take(packet.header.sequence) {
            Seen::Fresh => {}
            Seen::Again => {
                // Not to `source`: this packet may be anybody's copy.
                let (to, again) = (session.source, session.answer_again(packet.header.sequence));
                return again.map(|bytes| Out::Send { to, bytes }).into_iter().collect();
            }
            Seen::Old => return Vec::new(),
        }
        session.last_used = now;
        session.source = source;
        session.opening = None;
        match packet.header.payload_type {
            PayloadType::Ipmi => {}
            PayloadType::Sol => return self.on_sol_payload(id, &payload, now),
            PayloadType::OpenSessionRequest
            | PayloadType::OpenSessionResponse
            | PayloadType::Rakp1
            | PayloadType::Rakp2
            | PayloadType::Rakp3
            | PayloadType::Rakp4 => return Vec::new(),
        }
        let Ok(request) = LanRequest::decode(&payload) else { return Vec::new() };
        self.on_session_request(id, packet.header.sequence, request, now)
    }

    fn on_session_request(
        &mut self,
        id: u32,
        packet_sequence: u32,
        request: LanRequest,
        now: Duration,
    ) -> Vec<Out> {
        let serial = self.next_serial();
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        if let Some(answer) = session.duplicate(&request, now) {
            let Some(message) = answer else { return Vec::new() };
            let bytes = session.seal(&message, &mut self.random);
            return vec![Out::Send { to: session.source, bytes }];
        }
        let entry = table::find(request.netfn, request.command);
        let effect = entry.map_or(Effect::Read, |entry| entry.effect);
        let refusal = match entry {
            _ if request.to != CONTROLLER => Some(Completion::DESTINATION_UNAVAILABLE),
            _ if !session.make_room() => Some(Completion::NODE_BUSY),
            None => Some(Completion::INVALID_COMMAND),
            Some(_) if request.to_lun != 0 => Some(Completion::INVALID_FOR_LUN),
            Some(entry) if session.privilege < entry.privilege => {
                Some(Completion::PRIVILEGE_TOO_LOW)
            }
            Some(_) => None,
        };
        if refusal == Some(Completion::NODE_BUSY) {
            // Nothing is remembered, so that a retransmission is tried afresh.
            let message = request.response(Completion::NODE_BUSY, Vec::new()).to_bytes();
            let bytes = session.seal(&message, &mut self.random);
            return vec![Out::Send { to: session.source, bytes }];
        }
        let executor = entry.map_or(Executor::Session, |entry| entry.executor);
        let call =
            Request { netfn: request.netfn, command: request.command, data: request.data.clone() };
        let recent = Recent { serial, packet_sequence, at: now, request, effect, answer: None };
        session.recent.push_back(recent);
        let ticket = Ticket { session: id, serial };
        match (refusal, executor) {
            (Some(code), _) => self.on_reply(ticket, &Reply::code(code)),
            (None, Executor::Machine) => vec![Out::Deliver { ticket, request: call }],
            (None, Executor::Session) => self.on_own_command(ticket, &call, now),
        }
    }

    /// The answer to a request that was delivered. A session that has ended since gets none.
    pub fn on_reply(&mut self, ticket: Ticket, reply: &Reply) -> Vec<Out> {
        let Some(session) = self.sessions.get_mut(&ticket.session) else { return Vec::new() };
        let Some(at) = session.recent.iter().position(|it| it.serial == ticket.serial) else {
            return Vec::new();
        };
        let Some(request) = session.recent.get(at).map(|recent| &recent.request) else {
            return Vec::new();
        };
        let message = request.response(reply.completion, reply.data.clone()).to_bytes();
        let sealed = session.seal(&message, &mut self.random);
        let out = Out::Send { to: session.source, bytes: sealed.clone() };
        if let Some(recent) = session.recent.get_mut(at) {
            recent.answer = Some(Answer { message, sealed });
        }
        vec![out]
    }
}
