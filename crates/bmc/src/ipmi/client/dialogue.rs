//! What a console says to one controller and when, as a value: no socket, no clock.
//!
//! ```text
//!          begin                 session open, level set
//!  idle ─────────▶ logging in ───────────────────────────▶ asking ──▶ Done
//!   ▲  │                 ▲                                  │
//!   │  └─── session ─────┼─────────────────────────────────▶│
//!   │                    └── silence: once, and only what ──┘
//!   └── keep-alive ──▶       may be done twice
//! ```
//! A question that may be done twice is sent again, as the very same datagram, with a wait that
//! doubles; when nothing helps, the session is taken for lost and the question is asked once more
//! in a new one. A question that may not ([`Twice::Harmful`]) is **one datagram, once**: there are
//! controllers that execute a repeated datagram (VirtualBMC and OpenIPMI's simulator do), so not
//! even the session's sequence number protects. Its silence is [`ClientError::OutcomeUnknown`],
//! which [`super::power`] resolves by looking.

use std::{net::SocketAddr, time::Duration};

use super::{
    ClientError, Options,
    handshake::{Handshake, Progress, Terms},
    retry::{Retry, less_a_part},
    session::{ClientSession, Question},
};
use crate::ipmi::{
    completion::Completion,
    credentials::Credentials,
    msg::{
        close_session, get_device_id, lan::LanResponse, session_header::PayloadType,
        set_session_privilege,
    },
    random::Random,
    wire::{Command, Decode as _, Encode as _},
};

/// After this time without a word the controller may have ended the session (60 s by the
/// specification, 28 s with OpenIPMI's simulator): look before doing what must not be done twice.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// A session that is in use is never silent for longer.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// After this time the session is most likely gone: do not wait long for it.
const LIKELY_GONE: Duration = Duration::from_secs(55);
/// Attempts in a session that may be gone.
const DOUBTFUL_ATTEMPTS: u32 = 2;
/// How often a handshake is begun anew, where the link may be to blame for its failure.
const RESTARTS_MAX: u32 = 2;
/// How often a busy controller is asked again.
const BUSY_MAX: u32 = 4;

/// Whether a command may be executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    Harmless,
    Harmful,
}

/// A command, ready to be sent in any session.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: &'static str,
    netfn: u8,
    code: u8,
    data: Vec<u8>,
    pub(super) twice: Twice,
}

impl Ask {
    pub(super) fn new<C: Command>(request: &C, twice: Twice) -> Self {
        Self { name: C::NAME, netfn: C::NETFN, code: C::CODE, data: request.to_bytes(), twice }
    }
}

/// What the shell has to do.
#[derive(Debug)]
pub(super) enum Out {
    /// Send this.
    Send(Vec<u8>),
    /// The question that was begun has come to this.
    Done(Result<LanResponse, ClientError>),
}

/// Why a question is asked.
#[derive(Debug)]
enum Purpose {
    /// The level of a session that was just opened; then what its caller wants.
    Level(Option<Ask>),
    /// Whether the session still lives; then what its caller wants.
    Look(Ask),
    /// So that the session lives on.
    KeepAlive,
    /// The caller's; whether it is asked in a session that was opened for it.
    Caller { ask: Ask, fresh: bool, busy: u32 },
}

#[derive(Debug)]
enum Step {
    Idle,
    LoggingIn {
        handshake: Handshake,
        retry: Retry,
        /// How often it was begun anew, and whether this time a message was sent twice.
        restarts: u32,
        repeated: bool,
        then: Option<Ask>,
    },
    Asking {
        purpose: Purpose,
        question: Question,
        retry: Retry,
    },
    /// The controller is busy: once more at this time.
    Waiting {
        ask: Ask,
        fresh: bool,
        busy: u32,
        until: Duration,
    },
}

/// One controller, and the session with it.
#[derive(Debug)]
pub(super) struct Dialogue {
    address: SocketAddr,
    credentials: Credentials,
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) session: Option<ClientSession>,
    /// Zero when it has never spoken.
    heard_at: Duration,
    /// Until when the session is kept alive.
    kept_until: Duration,
    step: Step,
}

impl Dialogue {
    pub(super) fn new(
        address: SocketAddr,
        credentials: Credentials,
        options: Options,
        random: Random,
    ) -> Self {
        Self {
            address,
            credentials,
            options,
            random,
            session: None,
            heard_at: Duration::ZERO,
            kept_until: Duration::ZERO,
            step: Step::Idle,
        }
    }

    pub(super) fn is_for(&self, credentials: &Credentials) -> bool {
        self.credentials.is_same(credentials)
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.options.timeout_ms)
    }

    fn attempts_max(&self) -> u32 {
        self.options.attempts_max.max(1)
    }

    /// Opens a session; `Done` when its level is set.
    pub(super) fn connect(&mut self, now: Duration) -> Vec<Out> {
        self.log_in(None, now)
    }

    /// Asks; what was under way before is given up.
    pub(super) fn begin(&mut self, ask: Ask, now: Duration) -> Vec<Out> {
        let quiet = now.saturating_sub(self.heard_at) > QUIET_MAX;
        if self.session.is_none() {
            self.log_in(Some(ask), now)
        } else if ask.twice == Twice::Harmful && quiet {
            self.look(ask, now)
        } else {
            self.ask(ask, false, 0, now)
        }
    }

    /// Keeps the session alive until then, as long as nobody asks anything.
    pub(super) fn keep_until(&mut self, until: Duration) {
        self.kept_until = self.kept_until.max(until);
    }

    /// The farewell to the controller, if there is a session.
    pub(super) fn close(&mut self) -> Option<(ClientSession, Question)> {
        self.step = Step::Idle;
        let mut session = self.session.take()?;
        let request = close_session::Request { session_id: session.controller_id };
        let (netfn, code) = (close_session::Request::NETFN, close_session::Request::CODE);
        let question = session.ask(netfn, code, request.to_bytes(), &mut self.random);
        Some((session, question))
    }

    /// When [`Self::on_deadline`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.step {
            Step::LoggingIn { retry, .. } | Step::Asking { retry, .. } => Some(retry.deadline()),
            Step::Waiting { until, .. } => Some(*until),
            Step::Idle => {
                let due = self.heard_at + KEEP_ALIVE;
                (self.session.is_some() && due < self.kept_until).then_some(due)
            }
        }
    }

    pub(super) fn on_deadline(&mut self, now: Duration) -> Vec<Out> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let attempts = self.attempts_max();
        match &mut self.step {
            Step::Idle => self.keep_alive(now),
            Step::LoggingIn { handshake, retry, restarts, repeated, then } => {
                if retry.again(now, &mut self.random) {
                    *repeated = true;
                    return vec![Out::Send(handshake.datagram().to_vec())];
                }
                if handshake.is_last() && *restarts < RESTARTS_MAX {
                    let (then, restarts) = (then.take(), *restarts + 1);
                    return self.start(then, restarts, now);
                }
                let error = handshake.silence(attempts);
                self.fail(error)
            }
            Step::Asking { question, retry, .. } => {
                if retry.again(now, &mut self.random) {
                    return vec![Out::Send(question.datagram.clone())];
                }
                self.on_silence(now)
            }
            Step::Waiting { ask, fresh, busy, .. } => {
                let (ask, fresh, busy) = (ask.clone(), *fresh, *busy);
                self.ask(ask, fresh, busy, now)
            }
        }
    }

    pub(super) fn on_datagram(&mut self, bytes: &[u8], now: Duration) -> Vec<Out> {
        if let Step::LoggingIn { handshake, .. } = &mut self.step {
            let Self { credentials, options, random, .. } = self;
            let progress =
                handshake.on_datagram(bytes, &mut Terms { credentials, options, random });
            return self.on_progress(progress, now);
        }
        let Some(session) = &mut self.session else { return Vec::new() };
        let Some((kind, payload)) = session.open(bytes) else { return Vec::new() };
        self.heard_at = now;
        let Step::Asking { question, .. } = &self.step else { return Vec::new() };
        if kind != PayloadType::Ipmi {
            return Vec::new();
        }
        match LanResponse::decode(&payload) {
            Ok(response) if question.is_answered_by(&response) => self.on_answer(response, now),
            _ => Vec::new(),
        }
    }

    fn fail(&mut self, error: ClientError) -> Vec<Out> {
        self.step = Step::Idle;
        self.session = None;
        vec![Out::Done(Err(error))]
    }

    fn log_in(&mut self, then: Option<Ask>, now: Duration) -> Vec<Out> {
        self.start(then, 0, now)
    }

    fn start(&mut self, then: Option<Ask>, restarts: u32, now: Duration) -> Vec<Out> {
        self.session = None;
        let handshake = Handshake::new(self.address, &self.options);
        let datagram = handshake.datagram().to_vec();
        let (wait, attempts) = (self.wait(), self.attempts_max());
        // Who has spoken before is there, and may be restarting: it is given all the time.
        let retry = if self.heard_at == Duration::ZERO {
            Retry::contact(wait, attempts, now, &mut self.random)
        } else {
            Retry::new(wait, attempts, now, &mut self.random)
        };
        self.step = Step::LoggingIn { handshake, retry, restarts, repeated: false, then };
        vec![Out::Send(datagram)]
    }

    fn on_progress(&mut self, progress: Progress, now: Duration) -> Vec<Out> {
        match progress {
            Progress::None => Vec::new(),
            Progress::Next => {
                let (wait, attempts) = (self.wait(), self.attempts_max());
                let Step::LoggingIn { handshake, retry, .. } = &mut self.step else {
                    return Vec::new();
                };
                *retry = Retry::new(wait, attempts, now, &mut self.random);
                vec![Out::Send(handshake.datagram().to_vec())]
            }
            Progress::Open(session) => {
                let Step::LoggingIn { then, .. } = &mut self.step else { return Vec::new() };
                let then = then.take();
                self.session = Some(session);
                self.heard_at = now;
                let privilege = self.options.privilege.bits();
                let level = set_session_privilege::Request { privilege };
                let level = Ask::new(&level, Twice::Harmless);
                self.send(&level, Purpose::Level(then), self.attempts_max(), now)
            }
            Progress::Failed(error, farewell) => {
                // Controllers give a repeated message another challenge: then the proofs of one
                // message are looked for in the other, and look like a wrong password.
                if let Step::LoggingIn { restarts, repeated: true, then, .. } = &mut self.step
                    && matches!(error, ClientError::AuthenticationFailed { .. })
                    && *restarts < RESTARTS_MAX
                {
                    let (then, restarts) = (then.take(), *restarts + 1);
                    return self.start(then, restarts, now);
                }
                let mut outs: Vec<Out> = farewell.into_iter().map(Out::Send).collect();
                outs.extend(self.fail(error));
                outs
            }
        }
    }

    fn send(&mut self, ask: &Ask, purpose: Purpose, attempts: u32, now: Duration) -> Vec<Out> {
        let retry = match ask.twice {
            Twice::Harmless => Retry::new(self.wait(), attempts, now, &mut self.random),
            Twice::Harmful => Retry::once(self.wait() * self.attempts_max(), now),
        };
        let Some(session) = &mut self.session else { return Vec::new() };
        let question = session.ask(ask.netfn, ask.code, ask.data.clone(), &mut self.random);
        let datagram = question.datagram.clone();
        self.step = Step::Asking { purpose, question, retry };
        vec![Out::Send(datagram)]
    }

    fn ask(&mut self, ask: Ask, fresh: bool, busy: u32, now: Duration) -> Vec<Out> {
        let likely_gone = !fresh && now.saturating_sub(self.heard_at) > LIKELY_GONE;
        let attempts = self.attempts_max();
        let attempts = if likely_gone { attempts.min(DOUBTFUL_ATTEMPTS) } else { attempts };
        let purpose = Purpose::Caller { ask: ask.clone(), fresh, busy };
        self.send(&ask, purpose, attempts, now)
    }

    /// Finds out about a lost session by a question that may be asked twice.
    fn look(&mut self, ask: Ask, now: Duration) -> Vec<Out> {
        let attempts = self.attempts_max().min(DOUBTFUL_ATTEMPTS);
        let question = Ask::new(&get_device_id::Request, Twice::Harmless);
        self.send(&question, Purpose::Look(ask), attempts, now)
    }

    fn keep_alive(&mut self, now: Duration) -> Vec<Out> {
        let question = Ask::new(&get_device_id::Request, Twice::Harmless);
        self.send(&question, Purpose::KeepAlive, self.attempts_max(), now)
    }

    fn on_answer(&mut self, response: LanResponse, now: Duration) -> Vec<Out> {
        let Step::Asking { purpose, .. } = std::mem::replace(&mut self.step, Step::Idle) else {
            return Vec::new();
        };
        match purpose {
            Purpose::Level(then) => self.on_level(response, then, now),
            Purpose::Look(ask) => self.ask(ask, false, 0, now),
            Purpose::KeepAlive => Vec::new(),
            Purpose::Caller { ask, fresh, busy } => {
                let may_again = ask.twice == Twice::Harmless && busy < BUSY_MAX;
                if response.completion == Completion::NODE_BUSY && may_again {
                    let wait = less_a_part(self.wait() / 4 * (1 << busy), &mut self.random);
                    let busy = busy + 1;
                    self.step = Step::Waiting { ask, fresh, busy, until: now + wait };
                    return Vec::new();
                }
                vec![Out::Done(Ok(response))]
            }
        }
    }

    fn on_level(&mut self, response: LanResponse, then: Option<Ask>, now: Duration) -> Vec<Out> {
        let (address, command) = (self.address, set_session_privilege::Request::NAME);
        match (response.completion, then) {
            (Completion::OK, Some(ask)) => self.ask(ask, true, 0, now),
            (Completion::OK, None) => vec![Out::Done(Ok(response))],
            (Completion(0x80 | 0x81), _) => {
                let (privilege, operation) = (self.options.privilege, command);
                self.end_with(ClientError::PrivilegeTooLow { address, operation, privilege })
            }
            (code, _) => self.end_with(ClientError::Completion { address, command, code }),
        }
    }

    /// Gives the session up, and tells the controller, which has few.
    fn end_with(&mut self, error: ClientError) -> Vec<Out> {
        let farewell = self.close().map(|(_, question)| Out::Send(question.datagram));
        farewell.into_iter().chain(self.fail(error)).collect()
    }

    /// Every attempt of a question went unanswered.
    fn on_silence(&mut self, now: Duration) -> Vec<Out> {
        let Step::Asking { purpose, .. } = std::mem::replace(&mut self.step, Step::Idle) else {
            return Vec::new();
        };
        self.session = None;
        let (address, attempts) = (self.address, self.attempts_max());
        match purpose {
            Purpose::KeepAlive => {
                tracing::info!(bmc = %address, "session lost while nobody asked anything");
                Vec::new()
            }
            Purpose::Level(_) => {
                let operation = set_session_privilege::Request::NAME;
                self.fail(ClientError::Timeout { address, operation, attempts })
            }
            Purpose::Look(ask) => self.log_in(Some(ask), now),
            Purpose::Caller { ask, .. } if ask.twice == Twice::Harmful => {
                self.fail(ClientError::OutcomeUnknown { address, command: ask.name })
            }
            Purpose::Caller { ask, fresh: false, .. } => {
                tracing::info!(bmc = %address, command = ask.name, "session lost, logging in again");
                self.log_in(Some(ask), now)
            }
            Purpose::Caller { ask, fresh: true, .. } => {
                self.fail(ClientError::Timeout { address, operation: ask.name, attempts })
            }
        }
    }

    /// Whether a question that must not be done twice is under way.
    #[cfg(test)]
    pub(super) fn is_asking_harmfully(&self) -> bool {
        matches!(
            &self.step,
            Step::Asking { purpose: Purpose::Caller { ask, .. }, .. }
                if ask.twice == Twice::Harmful
        )
    }
}
