//! Open Session and RAKP, the controller's side: from a proposal to the session's keys.
//!
//! Whether a user exists and whether a password is right shows at one place only, RAKP 4, and
//! there both look the same: an unknown name is run through the very same computations, with a
//! key that nobody knows.

use std::{net::SocketAddr, time::Duration};

use subtle::ConditionallySelectable;
use zeroize::Zeroizing;

use super::{
    Out, Sessions,
    active::{Opening, Session},
    limits::{HALF_OPEN_AGE_MAX, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX, SESSIONS_MAX, culprit},
};
use crate::accounts::{Accounts, Login};
use crate::ipmi::{
    credentials::PASSWORD_BYTES_MAX,
    crypto::Mac,
    msg::{
        open_session::{self, Accepted},
        rakp1::Rakp1,
        rakp2::{Challenge, Rakp2},
        rakp3::Rakp3,
        rakp4::Rakp4,
        session_header::PayloadType,
        status::Status,
    },
    packet,
    privilege::Privilege,
    rakp::Exchange,
    suite::{Algorithms, CipherSuite},
    wire::{Decode, Encode, WireError},
};

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Handshake {
    source: SocketAddr,
    started: Duration,
    console_id: u32,
    suite: CipherSuite,
    /// The Open Session Request and what it was answered, for when it comes again.
    open: (Vec<u8>, Vec<u8>),
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Open Session is answered.
    Opened,
    /// RAKP 1 is answered.
    Challenged { rakp1: Vec<u8>, rakp2: Vec<u8>, exchange: Exchange, limit: Privilege },
    /// RAKP 3 was wrong: there is no second one, but the first may come again.
    Refused { rakp3: Vec<u8>, rakp4: Vec<u8> },
}

impl Handshake {
    pub(super) fn ends_at(&self) -> Duration {
        self.started + HALF_OPEN_AGE_MAX
    }
}

/// The key that RAKP uses for `name`: the password, or one that nobody knows. The time does not
/// depend on which.
fn user_key(
    accounts: &Accounts,
    nobody: &Mac,
    name: &[u8],
) -> (Zeroizing<[u8; PASSWORD_BYTES_MAX]>, Login) {
    let login = accounts.login(name);
    let fake = Mac::new(CipherSuite::Suite17, nobody.as_slice(), &[name]);
    // HMAC fills its key up with zeros, so that the padded password is as good as the password.
    let mut key = Zeroizing::new([0u8; PASSWORD_BYTES_MAX]);
    for ((to, fake), real) in key.iter_mut().zip(fake.as_slice()).zip(login.password.iter()) {
        *to = u8::conditional_select(fake, real, login.known);
    }
    (key, login)
}

fn chosen(request: &open_session::Request) -> Option<CipherSuite> {
    CipherSuite::PREFERRED.into_iter().find(|suite| {
        let Algorithms { authentication, integrity, confidentiality } = suite.algorithms();
        request.authentication.is_none_or(|wanted| wanted == authentication)
            && request.integrity.is_none_or(|wanted| wanted == integrity)
            && request.confidentiality.is_none_or(|wanted| wanted == confidentiality)
    })
}

fn send(to: SocketAddr, payload_type: PayloadType, message: &impl Encode) -> Vec<Out> {
    vec![Out::Send { to, bytes: packet::plain(payload_type, &message.to_bytes()) }]
}

impl Sessions {
    pub(super) fn on_open_session(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        now: Duration,
    ) -> Vec<Out> {
        let Ok(request) = open_session::Request::decode(payload) else { return Vec::new() };
        let again = self.half_open.values().find(|it| it.source == source && it.open.0 == payload);
        if let Some(Handshake { open: (_, answer), stage: Stage::Opened, .. }) = again {
            return vec![Out::Send { to: source, bytes: answer.clone() }];
        }
        let privilege = request.privilege;
        let refuse = |status| {
            let (tag, console_id) = (request.tag, request.console_id);
            let message =
                open_session::Response { tag, privilege, console_id, outcome: Err(status) };
            send(source, PayloadType::OpenSessionResponse, &message)
        };
        if self.failures.must_wait(source.ip(), now) {
            return refuse(Status::INSUFFICIENT_RESOURCES);
        }
        let Some(suite) = chosen(&request) else { return refuse(Status::NO_CIPHER_SUITE) };
        let limit = match privilege {
            0 => Privilege::Administrator,
            bits => match Privilege::from_bits(bits) {
                Some(limit) => limit,
                None => return refuse(Status::INVALID_ROLE),
            },
        };
        self.make_room(source, now);
        let controller_id = self.fresh_id();
        let algorithms = suite.algorithms();
        let message = open_session::Response {
            tag: request.tag,
            privilege: limit.bits(),
            console_id: request.console_id,
            outcome: Ok(Accepted { controller_id, algorithms }),
        };
        let answer = packet::plain(PayloadType::OpenSessionResponse, &message.to_bytes());
        let handshake = Handshake {
            source,
            started: now,
            console_id: request.console_id,
            suite,
            open: (payload.to_vec(), answer.clone()),
            stage: Stage::Opened,
        };
        self.half_open.insert(controller_id, handshake);
        vec![Out::Send { to: source, bytes: answer }]
    }

    /// Oldest first: of the same address when it has its share already, of all otherwise.
    fn make_room(&mut self, source: SocketAddr, now: Duration) {
        self.half_open.retain(|_, handshake| handshake.ends_at() > now);
        let own = culprit(source.ip());
        let is_own = |handshake: &Handshake| culprit(handshake.source.ip()) == own;
        let crowded =
            self.half_open.values().filter(|it| is_own(it)).count() >= HALF_OPEN_PER_SOURCE_MAX;
        if !crowded && self.half_open.len() < HALF_OPEN_MAX {
            return;
        }
        let oldest = self
            .half_open
            .iter()
            .filter(|(_, handshake)| !crowded || is_own(handshake))
            .min_by_key(|(_, handshake)| handshake.started)
            .map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.half_open.remove(&oldest);
        }
    }

    pub(super) fn on_rakp1(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        now: Duration,
    ) -> Vec<Out> {
        let rakp1 = match Rakp1::decode(payload) {
            Ok(rakp1) => rakp1,
            Err(WireError::Reserved { .. }) => {
                return self.refuse_rakp1(payload, source, Status::INVALID_NAME_LENGTH);
            }
            Err(_) => return Vec::new(),
        };
        let controller_random = self.random.block();
        let Some(handshake) = self.half_open.get_mut(&rakp1.controller_id) else {
            return Vec::new();
        };
        if handshake.source != source || handshake.ends_at() <= now {
            return Vec::new();
        }
        match &handshake.stage {
            Stage::Opened => {}
            Stage::Challenged { rakp1, rakp2, .. } if rakp1 == payload => {
                return vec![Out::Send { to: source, bytes: rakp2.clone() }];
            }
            Stage::Challenged { .. } | Stage::Refused { .. } => {
                return self.refuse_rakp1(payload, source, Status::ILLEGAL_PARAMETER);
            }
        }
        if rakp1.user.is_empty() {
            return self.refuse_rakp1(payload, source, Status::UNAUTHORIZED_NAME);
        }
        let Some(limit) = Privilege::from_bits(rakp1.role & 0x0f) else {
            return self.refuse_rakp1(payload, source, Status::INVALID_ROLE);
        };
        let exchange = Exchange {
            suite: handshake.suite,
            console_id: handshake.console_id,
            controller_id: rakp1.controller_id,
            console_random: rakp1.console_random,
            controller_random,
            guid: self.guid,
            role: rakp1.role,
            user: rakp1.user,
        };
        let (key, _) = user_key(&self.accounts, &self.nobody, &exchange.user);
        let code = exchange.controller_code(&*key).as_slice().to_vec();
        let message = Rakp2 {
            tag: rakp1.tag,
            console_id: handshake.console_id,
            outcome: Ok(Challenge { controller_random, guid: self.guid, code }),
        };
        let rakp2 = packet::plain(PayloadType::Rakp2, &message.to_bytes());
        let (rakp1, answer) = (payload.to_vec(), rakp2.clone());
        handshake.stage = Stage::Challenged { rakp1, rakp2, exchange, limit };
        vec![Out::Send { to: source, bytes: answer }]
    }

    /// Says no and forgets the handshake; only for an address that holds it.
    fn refuse_rakp1(&mut self, payload: &[u8], source: SocketAddr, status: Status) -> Vec<Out> {
        let Some(id) = payload.get(4..).and_then(<[u8]>::first_chunk::<4>) else {
            return Vec::new();
        };
        let id = u32::from_le_bytes(*id);
        let Some(handshake) = self.half_open.get(&id).filter(|it| it.source == source) else {
            return Vec::new();
        };
        let tag = payload.first().copied().unwrap_or_default();
        let message = Rakp2 { tag, console_id: handshake.console_id, outcome: Err(status) };
        self.half_open.remove(&id);
        send(source, PayloadType::Rakp2, &message)
    }

    pub(super) fn on_rakp3(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        now: Duration,
    ) -> Vec<Out> {
        let Ok(rakp3) = Rakp3::decode(payload) else { return Vec::new() };
        let id = rakp3.controller_id;
        if let Some(answer) = self.sessions.get(&id).and_then(|it| it.opening(payload, source)) {
            return vec![Out::Send { to: source, bytes: answer }];
        }
        let Some(handshake) = self.half_open.get_mut(&id) else { return Vec::new() };
        if handshake.source != source || handshake.ends_at() <= now {
            return Vec::new();
        }
        let console_id = handshake.console_id;
        let (exchange, limit) = match &handshake.stage {
            Stage::Opened => return Vec::new(),
            Stage::Refused { rakp3, rakp4 } if rakp3 == payload => {
                return vec![Out::Send { to: source, bytes: rakp4.clone() }];
            }
            Stage::Refused { .. } => {
                let outcome = Err(Status::INVALID_SESSION_ID);
                let message = Rakp4 { tag: rakp3.tag, console_id, outcome };
                return send(source, PayloadType::Rakp4, &message);
            }
            Stage::Challenged { exchange, limit, .. } => (exchange.clone(), *limit),
        };
        let Ok(code) = &rakp3.outcome else {
            // The console could not verify RAKP 2: a wrong password, seen from its side.
            self.half_open.remove(&id);
            self.failures.add(source.ip(), now);
            return vec![Out::LoginFailed { from: source }];
        };
        let (key, login) = user_key(&self.accounts, &self.nobody, &exchange.user);
        let length = exchange.suite.exchange_code_length();
        let right = exchange.console_code(&*key).matches(code, length);
        let integrity_key = exchange.session_integrity_key(&*key);
        let final_code = exchange.final_code(&integrity_key);
        let status = if self.failures.must_wait(source.ip(), now) {
            Some(Status::INSUFFICIENT_RESOURCES)
        } else if right & bool::from(login.known) {
            None
        } else {
            self.failures.add(source.ip(), now);
            Some(Status::INVALID_INTEGRITY_CHECK)
        };
        let outcome = match status {
            Some(status) => Err(status),
            None => Ok(final_code.truncated(exchange.suite.integrity_length()).to_vec()),
        };
        let message = Rakp4 { tag: rakp3.tag, console_id, outcome };
        let rakp4 = packet::plain(PayloadType::Rakp4, &message.to_bytes());
        let (again, answer) = (payload.to_vec(), rakp4.clone());
        // A guess that was not looked at is no failure.
        let failed = status == Some(Status::INVALID_INTEGRITY_CHECK);
        let blame = failed.then_some(Out::LoginFailed { from: source });
        if status.is_some() {
            handshake.stage = Stage::Refused { rakp3: again, rakp4 };
        } else {
            self.half_open.remove(&id);
            let opening = Opening { rakp3: again, rakp4 };
            let keys = exchange.keys(&integrity_key);
            // The user's own limit: whoever asks for more is told so when taking the level.
            let limit = Privilege::from_bits(login.privilege).map_or(limit, |own| own.min(limit));
            let session = Session::new(console_id, keys, limit, source, now, opening);
            self.admit(id, session.of_slot(login.slot), now);
        }
        [Out::Send { to: source, bytes: answer }].into_iter().chain(blame).collect()
    }

    fn admit(&mut self, id: u32, session: Session, now: Duration) {
        self.sessions.retain(|_, session| session.ends_at() > now);
        if self.sessions.len() >= SESSIONS_MAX {
            let idlest = self.sessions.iter().min_by_key(|(_, it)| it.ends_at()).map(|(id, _)| *id);
            if let Some(idlest) = idlest {
                self.sessions.remove(&idlest);
            }
        }
        self.sessions.insert(id, session);
    }

    fn fresh_id(&mut self) -> u32 {
        loop {
            let id = self.random.id();
            if !self.half_open.contains_key(&id) && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accounts::Account,
        credentials::{Credentials, Password},
        guid::Guid,
        ipmi::{packet::Datagram, random::Random},
        mac::count,
    };

    const NOW: Duration = Duration::from_secs(100);

    fn payload<M: Decode>(outs: &[Out]) -> M {
        let Some(Out::Send { bytes, .. }) = outs.first() else { panic!("no answer: {outs:?}") };
        let Ok(Datagram::Plus(packet)) = Datagram::parse(bytes) else { panic!("no packet") };
        M::decode(packet.payload).expect("a message")
    }

    /// HMACs of RAKP 1 and of a wrong RAKP 3, and the bytes of their answers.
    fn cost(sessions: &mut Sessions, suite: CipherSuite, user: &str) -> [(u64, usize); 2] {
        let source = ([192, 0, 2, 1], 50_000).into();
        let Algorithms { authentication, integrity, confidentiality } = suite.algorithms();
        let open = open_session::Request {
            tag: 1,
            privilege: 4,
            console_id: 7,
            authentication: Some(authentication),
            integrity: Some(integrity),
            confidentiality: Some(confidentiality),
        };
        let open = packet::plain(PayloadType::OpenSessionRequest, &open.to_bytes());
        let opened: open_session::Response = payload(&sessions.on_datagram(&open, source, NOW));
        let controller_id = opened.outcome.expect("accepted").controller_id;
        let mut ask = |kind, message: Vec<u8>| {
            let before = count::get();
            let outs = sessions.on_datagram(&packet::plain(kind, &message), source, NOW);
            let Some(Out::Send { bytes, .. }) = outs.first() else { panic!("no answer") };
            (count::get() - before, bytes.len())
        };
        let user = user.as_bytes().to_vec();
        let rakp1 = Rakp1 { tag: 2, controller_id, console_random: [7; 16], role: 0x14, user };
        let code = vec![9; suite.exchange_code_length()];
        let rakp3 = Rakp3 { tag: 3, controller_id, outcome: Ok(code) };
        [ask(PayloadType::Rakp1, rakp1.to_bytes()), ask(PayloadType::Rakp3, rakp3.to_bytes())]
    }

    #[test]
    fn an_unknown_user_costs_what_a_wrong_password_costs() {
        let admin = Credentials::new("admin", "0123456789abcdef").expect("credentials");
        let accounts = Accounts::single(admin);
        let other = |name: &str, enabled: bool, password: Option<Password>| {
            let privilege = Privilege::Operator;
            Some(Account { name: name.into(), password, privilege, enabled })
        };
        let password = Password::new(b"0123456789abcdef").expect("password");
        accounts.change(3, |_| other("disabled", false, Some(password))).expect("changed");
        accounts.change(4, |_| other("bare", true, None)).expect("changed");
        for suite in CipherSuite::PREFERRED {
            let costs = ["admin", "nobody", "disabled", "bare", "a-name-of-sixtee"].map(|user| {
                // A controller each: it must not be the limit for guesses that makes them alike.
                let random = Random::new(&[3; 32]);
                cost(&mut Sessions::new(accounts.clone(), Guid([5; 16]), random), suite, user)
            });
            let [[(first, _), (second, _)], ..] = costs;
            assert!(first > 0 && second > 0, "HMACs are what is counted");
            assert!(costs.iter().all(|cost| *cost == costs[0]), "{suite}: {costs:?}");
        }
    }
}
