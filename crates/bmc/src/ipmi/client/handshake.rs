//! The way into a controller, as a value: the datagram that is due, and what its answer leads to.
//!
//! ```text
//! capabilities ─▶ Open Session ─▶ RAKP 1 ─▶ RAKP 3 ─▶ session
//!                   │    ▲
//!                   └────┘ the suite is refused, or another was answered: the next one
//! ```
//! Whoever drives it sends [`Handshake::datagram`] until it is answered (sections 13.17 to 13.24
//! and 22.13). The level of the session is asked for inside of it.

use std::net::SocketAddr;

use super::{ClientError, Options, discover::THIS_CHANNEL, session::ClientSession};
use crate::ipmi::{
    completion::Completion,
    credentials::Credentials,
    msg::{
        get_channel_auth_cap,
        lan::{LanRequest, LanResponse},
        open_session::{self, Accepted},
        rakp1::{NAME_ONLY, Rakp1},
        rakp2::Rakp2,
        rakp3::Rakp3,
        rakp4::Rakp4,
        session_header::PayloadType,
        status::Status,
    },
    packet::{self, Datagram},
    rakp::Exchange,
    random::Random,
    suite::{Algorithms, CipherSuite},
    wire::{Command, Decode, Encode, WireError},
};

const OPEN_SESSION: &str = "Open Session";
const RAKP_1: &str = "RAKP message 1";
const RAKP_3: &str = "RAKP message 3";

/// What a datagram did to the handshake.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing: it is somebody else's, or late.
    None,
    /// Another datagram is due.
    Next,
    /// The session is open.
    Open(ClientSession),
    /// It ends here; the datagram, if any, tells the controller so.
    Failed(ClientError, Option<Vec<u8>>),
}

#[derive(Debug)]
enum Stage {
    Capabilities,
    /// A proposal of the suite with this place in the options.
    Open {
        place: usize,
        tag: u8,
        console_id: u32,
    },
    Rakp1 {
        exchange: Exchange,
        tag: u8,
    },
    Rakp3 {
        exchange: Exchange,
        tag: u8,
    },
}

/// One attempt to log in.
#[derive(Debug)]
pub(super) struct Handshake {
    address: SocketAddr,
    stage: Stage,
    datagram: Vec<u8>,
}

/// The payload of a sessionless RMCP+ packet of this type.
pub(super) fn payload(bytes: &[u8], kind: PayloadType) -> Option<&[u8]> {
    match Datagram::parse(bytes) {
        Ok(Datagram::Plus(packet)) => {
            let header = packet.header;
            let plain = header.session_id == 0 && !header.encrypted && !header.authenticated;
            (plain && header.payload_type == kind).then_some(packet.payload)
        }
        _ => None,
    }
}

/// The answer to a question outside of sessions.
pub(super) fn plain_answer<C: Command>(bytes: &[u8]) -> Option<LanResponse> {
    match Datagram::parse(bytes) {
        Ok(Datagram::V15 { payload, .. }) => LanResponse::decode(payload)
            .ok()
            .filter(|response| (response.netfn, response.command) == (C::NETFN | 1, C::CODE)),
        _ => None,
    }
}

/// A question outside of sessions.
pub(super) fn plain_question<C: Command>(request: &C) -> Vec<u8> {
    let message = LanRequest::new(C::NETFN, C::CODE, 0, request.to_bytes());
    packet::plain_v15(&message.to_bytes())
}

/// Who logs in, and how.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) options: &'a Options,
    pub(super) random: &'a mut Random,
}

impl Handshake {
    pub(super) fn new(address: SocketAddr, options: &Options) -> Self {
        let privilege = options.privilege.bits();
        let request =
            get_channel_auth_cap::Request { extended: true, channel: THIS_CHANNEL, privilege };
        Self { address, stage: Stage::Capabilities, datagram: plain_question(&request) }
    }

    /// What is to be sent, again and again, until it is answered.
    pub(super) fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    /// Whether this is the last message of it. A controller that has answered it once has no
    /// handshake any more, and no answer to the same message again.
    pub(super) fn is_last(&self) -> bool {
        matches!(self.stage, Stage::Rakp3 { .. })
    }

    /// What to say when nothing answers any more.
    pub(super) fn silence(&self, attempts: u32) -> ClientError {
        let address = self.address;
        let operation = match self.stage {
            Stage::Capabilities => return ClientError::Unreachable { address },
            Stage::Open { .. } => OPEN_SESSION,
            Stage::Rakp1 { .. } => RAKP_1,
            Stage::Rakp3 { .. } => RAKP_3,
        };
        ClientError::Timeout { address, operation, attempts }
    }

    pub(super) fn on_datagram(&mut self, bytes: &[u8], terms: &mut Terms<'_>) -> Progress {
        match &self.stage {
            Stage::Capabilities => self.on_capabilities(bytes, terms),
            Stage::Open { .. } => self.on_open_session(bytes, terms),
            Stage::Rakp1 { .. } => self.on_rakp2(bytes, terms),
            Stage::Rakp3 { .. } => self.on_rakp4(bytes, terms),
        }
    }

    fn malformed(&self, operation: &'static str, source: WireError) -> Progress {
        let error = ClientError::Malformed { address: self.address, operation, source };
        Progress::Failed(error, None)
    }

    fn authentication_failed(&self, terms: &Terms<'_>, status: Option<Status>) -> ClientError {
        let user = terms.credentials.user().to_owned();
        ClientError::AuthenticationFailed { address: self.address, user, status }
    }

    fn refused(&self, operation: &'static str, status: Status, terms: &Terms<'_>) -> Progress {
        let address = self.address;
        let error = match status {
            Status::UNAUTHORIZED_NAME | Status::INVALID_INTEGRITY_CHECK => {
                self.authentication_failed(terms, Some(status))
            }
            Status::INVALID_ROLE | Status::UNAUTHORIZED_ROLE => {
                let privilege = terms.options.privilege;
                ClientError::PrivilegeTooLow { address, operation, privilege }
            }
            _ => ClientError::Refused { address, operation, status },
        };
        Progress::Failed(error, None)
    }

    /// Whether it speaks IPMI 2.0.
    fn on_capabilities(&mut self, bytes: &[u8], terms: &mut Terms<'_>) -> Progress {
        use get_channel_auth_cap::{Request, Response};
        let (address, command) = (self.address, Request::NAME);
        let Some(response) = plain_answer::<Request>(bytes) else { return Progress::None };
        if response.completion != Completion::OK {
            let code = response.completion;
            return Progress::Failed(ClientError::Completion { address, command, code }, None);
        }
        match Response::decode(&response.data) {
            Err(source) => self.malformed(command, source),
            Ok(it) if it.types & 0x80 == 0 || it.versions & 0x02 == 0 => {
                self.propose(terms.options.suites.len(), terms)
            }
            Ok(_) => self.propose(0, terms),
        }
    }

    /// Proposes the suite at this place.
    fn propose(&mut self, place: usize, terms: &mut Terms<'_>) -> Progress {
        let Some(suite) = terms.options.suites.get(place) else {
            let suites: Vec<String> =
                terms.options.suites.iter().map(ToString::to_string).collect();
            let (address, suites) = (self.address, suites.join(", "));
            return Progress::Failed(ClientError::NoCommonSuite { address, suites }, None);
        };
        let Algorithms { authentication, integrity, confidentiality } = suite.algorithms();
        let (tag, console_id) = (terms.random.block()[0], terms.random.id());
        let request = open_session::Request {
            tag,
            privilege: terms.options.privilege.bits(),
            console_id,
            authentication: Some(authentication),
            integrity: Some(integrity),
            confidentiality: Some(confidentiality),
        };
        self.datagram = packet::plain(PayloadType::OpenSessionRequest, &request.to_bytes());
        self.stage = Stage::Open { place, tag, console_id };
        Progress::Next
    }

    fn on_open_session(&mut self, bytes: &[u8], terms: &mut Terms<'_>) -> Progress {
        let Stage::Open { place, tag, console_id } = self.stage else { return Progress::None };
        let Some(answer) = payload(bytes, PayloadType::OpenSessionResponse) else {
            return Progress::None;
        };
        let answer = match open_session::Response::decode(answer) {
            Ok(answer) => answer,
            Err(source) => return self.malformed(OPEN_SESSION, source),
        };
        // A refusal may leave the console's id out.
        let nameless = answer.outcome.is_err() && answer.console_id == 0;
        if answer.tag != tag || (answer.console_id != console_id && !nameless) {
            return Progress::None;
        }
        let Some(suite) = terms.options.suites.get(place).copied() else { return Progress::None };
        match answer.outcome {
            Ok(Accepted { algorithms, controller_id }) if algorithms == suite.algorithms() => {
                self.start(suite, console_id, controller_id, terms)
            }
            // Several controllers answer with the suite that they like better.
            Ok(_) | Err(Status(0x04 | 0x05 | 0x10 | 0x11)) => {
                tracing::debug!(bmc = %self.address, %suite, "cipher suite refused");
                self.propose(place + 1, terms)
            }
            Err(status) => self.refused(OPEN_SESSION, status, terms),
        }
    }

    fn start(
        &mut self,
        suite: CipherSuite,
        console_id: u32,
        controller_id: u32,
        terms: &mut Terms<'_>,
    ) -> Progress {
        let exchange = Exchange {
            suite,
            console_id,
            controller_id,
            console_random: terms.random.block(),
            controller_random: [0; 16],
            guid: [0; 16],
            role: NAME_ONLY | terms.options.privilege.bits(),
            user: terms.credentials.user().as_bytes().to_vec(),
        };
        let tag = terms.random.block()[0];
        let rakp1 = Rakp1 {
            tag,
            controller_id,
            console_random: exchange.console_random,
            role: exchange.role,
            user: exchange.user.clone(),
        };
        self.datagram = packet::plain(PayloadType::Rakp1, &rakp1.to_bytes());
        self.stage = Stage::Rakp1 { exchange, tag };
        Progress::Next
    }

    fn on_rakp2(&mut self, bytes: &[u8], terms: &mut Terms<'_>) -> Progress {
        let Stage::Rakp1 { exchange, tag } = &self.stage else { return Progress::None };
        let Some(answer) = payload(bytes, PayloadType::Rakp2) else { return Progress::None };
        let answer = match Rakp2::decode(answer) {
            Ok(answer) => answer,
            Err(source) => return self.malformed(RAKP_1, source),
        };
        if answer.tag != *tag || answer.console_id != exchange.console_id {
            return Progress::None;
        }
        let challenge = match answer.outcome {
            Ok(challenge) => challenge,
            Err(status) => return self.refused(RAKP_1, status, terms),
        };
        let mut exchange = exchange.clone();
        exchange.controller_random = challenge.controller_random;
        exchange.guid = challenge.guid;
        let password = terms.credentials.password().bytes();
        let (tag, controller_id) = (tag.wrapping_add(1), exchange.controller_id);
        let length = exchange.suite.exchange_code_length();
        if !exchange.controller_code(password).matches(&challenge.code, length) {
            // The controller shall not keep the half-open session for nothing.
            let outcome = Err(Status::INVALID_INTEGRITY_CHECK);
            let rakp3 = Rakp3 { tag, controller_id, outcome };
            let farewell = packet::plain(PayloadType::Rakp3, &rakp3.to_bytes());
            return Progress::Failed(self.authentication_failed(terms, None), Some(farewell));
        }
        let code = exchange.console_code(password).as_slice().to_vec();
        let rakp3 = Rakp3 { tag, controller_id, outcome: Ok(code) };
        self.datagram = packet::plain(PayloadType::Rakp3, &rakp3.to_bytes());
        self.stage = Stage::Rakp3 { exchange, tag };
        Progress::Next
    }

    fn on_rakp4(&mut self, bytes: &[u8], terms: &mut Terms<'_>) -> Progress {
        let Stage::Rakp3 { exchange, tag } = &self.stage else { return Progress::None };
        let Some(answer) = payload(bytes, PayloadType::Rakp4) else { return Progress::None };
        let answer = match Rakp4::decode(answer) {
            Ok(answer) => answer,
            Err(source) => return self.malformed(RAKP_3, source),
        };
        if answer.tag != *tag || answer.console_id != exchange.console_id {
            return Progress::None;
        }
        let code = match answer.outcome {
            Ok(code) => code,
            Err(status) => return self.refused(RAKP_3, status, terms),
        };
        let key = exchange.session_integrity_key(terms.credentials.password().bytes());
        let length = exchange.suite.integrity_length();
        if !exchange.final_code(&key).matches(&code, length) {
            return Progress::Failed(self.authentication_failed(terms, None), None);
        }
        let Exchange { controller_id, console_id, .. } = *exchange;
        Progress::Open(ClientSession::new(exchange.keys(&key), controller_id, console_id))
    }
}
