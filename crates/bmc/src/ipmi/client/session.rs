//! An open session, the console's side: sealing requests, knowing their answers.

use crate::ipmi::{
    crypto::SessionKeys,
    msg::{
        lan::{LanRequest, LanResponse},
        session_header::PayloadType,
    },
    packet::{self, Datagram},
    random::Random,
    session::window::{Seen, Window},
    suite::CipherSuite,
    wire::Encode,
};

/// The keys and the counters.
#[derive(Debug)]
pub(super) struct ClientSession {
    keys: SessionKeys,
    pub(super) controller_id: u32,
    console_id: u32,
    sequence_out: u32,
    request_sequence: u8,
    window: Window,
}

/// A sealed request, and how to know its answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) datagram: Vec<u8>,
    request: LanRequest,
}

impl ClientSession {
    pub(super) fn new(keys: SessionKeys, controller_id: u32, console_id: u32) -> Self {
        let (sequence_out, request_sequence, window) = (0, 0, Window::default());
        Self { keys, controller_id, console_id, sequence_out, request_sequence, window }
    }

    pub(super) fn suite(&self) -> CipherSuite {
        self.keys.suite()
    }

    pub(super) fn ask(
        &mut self,
        netfn: u8,
        command: u8,
        data: Vec<u8>,
        random: &mut Random,
    ) -> Question {
        self.request_sequence = (self.request_sequence + 1) & 0x3f;
        let request = LanRequest::new(netfn, command, self.request_sequence, data);
        let datagram = self.seal(PayloadType::Ipmi, &request.to_bytes(), random);
        Question { datagram, request }
    }

    /// Any payload, as a datagram of its own.
    pub(super) fn seal(
        &mut self,
        kind: PayloadType,
        payload: &[u8],
        random: &mut Random,
    ) -> Vec<u8> {
        self.sequence_out = self.sequence_out.wrapping_add(1).max(1);
        let (id, sequence) = (self.controller_id, self.sequence_out);
        packet::seal_as(kind, &self.keys, id, sequence, payload, &random.block())
    }

    /// What is in a datagram of this session that was not seen before.
    pub(super) fn open(&mut self, bytes: &[u8]) -> Option<(PayloadType, Vec<u8>)> {
        let Ok(Datagram::Plus(packet)) = Datagram::parse(bytes) else { return None };
        let header = packet.header;
        if header.session_id != self.console_id {
            return None;
        }
        let payload = packet.open(&self.keys)?;
        let fresh = self.window.take(header.sequence) == Seen::Fresh;
        fresh.then_some((header.payload_type, payload))
    }
}

impl Question {
    /// Whether this is the answer.
    pub(super) fn is_answered_by(&self, response: &LanResponse) -> bool {
        let request = &self.request;
        response.netfn == request.netfn | 1
            && response.command == request.command
            && response.sequence == request.sequence
    }
}
