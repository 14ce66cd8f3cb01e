//! The talk with the daemon: hello, then poll, do, report, for ever.
//!
//! ```text
//! hello ──welcome──► poll ──nothing──► poll
//!   │ no answer        │ order
//!   └► again           └► do it ──► report until it is taken ──► poll
//! ```
//! Each order has a thread of its own, which ends when its report is taken; the ramdisk does one at a
//! time, an installed machine several. The poll says which are in progress: it is the heartbeat,
//! whatever an order waits for, so that an agent falls silent only with its machine. At the limit
//! there is no poll until an order ends, but for that.
//!
//! No answer is never the end: the daemon may be restarting. Only a refusal is.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use undercloud_model::{
    Secret, SshHostKey, StepId,
    agent::{BootIdentity, Hello, PROTOCOL, Poll, Report, Welcome},
};

use crate::{
    client::{Client, ClientError},
    cloud::Latest,
    log::Log,
    steps::{Executor, Order},
};

/// The rhythm of the talk.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Between two hellos.
    pub hello_pause: Duration,
    /// For how long hello is tried.
    pub hello_total: Duration,
    /// The longest pause between two tries of anything else.
    pub pause_max: Duration,
    /// The least time from one empty poll to the next, for a daemon that does not hold its answers.
    pub poll_every: Duration,
    /// How long an agent that can take no more orders says nothing.
    pub heartbeat: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            hello_pause: Duration::from_secs(10),
            hello_total: Duration::from_secs(600),
            pause_max: Duration::from_secs(10),
            poll_every: Duration::from_secs(2),
            heartbeat: Duration::from_secs(20),
        }
    }
}

/// The daemon holds its answer to a poll for up to 20 s.
const POLL_DEADLINE: Duration = Duration::from_secs(45);
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// The daemon may give the next order before the thread of the one before knows that its report was
/// taken.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// Why the talk ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The identity was written by a daemon of a version that is not understood.
    #[error(
        "this agent speaks {PROTOCOL} of the protocol and the daemon version {theirs}: build the \
         images again with `undercloud image build`"
    )]
    Version {
        /// The daemon's.
        theirs: u32,
    },
    /// No answer within the time that there is.
    #[error("the daemon did not answer for {} s: {last}", .total.as_secs())]
    Silent {
        /// How long.
        total: Duration,
        /// The last try.
        last: Box<ClientError>,
    },
    /// The daemon, or the identity, is no good; trying again cannot help.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The version to speak with the daemon that wrote an identity of version `theirs`. A daemon that is
/// newer understands ours, or says that it does not.
///
/// # Errors
/// The sentence that says what to do.
pub fn common_version(theirs: u32) -> Result<u32, SessionError> {
    PROTOCOL.common(theirs).ok_or(SessionError::Version { theirs })
}

/// Exchanges the secret of this boot for a session key. Repeating it is safe: the boot id says that
/// it is the same use.
///
/// # Errors
/// When the daemon refuses, or stays silent for too long.
pub fn hello(
    client: &Client,
    identity: &BootIdentity,
    boot_id: &str,
    rhythm: &Rhythm,
    log: &Log,
) -> Result<Secret, SessionError> {
    let hello = Hello {
        protocol: common_version(identity.protocol)?,
        node: identity.node,
        secret: identity.secret.clone(),
        boot_id: boot_id.to_owned(),
        agent_version: crate::VERSION.to_owned(),
    };
    let began = Instant::now();
    let mut pause = Duration::from_secs(1).min(rhythm.hello_pause);
    loop {
        match client.post::<Welcome>("/agent/v1/hello", &hello, REQUEST_DEADLINE) {
            Ok(welcome) => return Ok(welcome.session_key),
            Err(error) if !error.is_retryable() => return Err(error.into()),
            Err(error) if began.elapsed() + pause > rhythm.hello_total => {
                let last = Box::new(error);
                return Err(SessionError::Silent { total: rhythm.hello_total, last });
            }
            Err(error) => {
                log.say(format_args!("{error}; trying again in {} s", pause.as_secs()));
            }
        }
        thread::sleep(pause);
        pause = (pause * 2).min(rhythm.hello_pause);
    }
}

/// The reply to a poll; the step inside is looked at later, since this agent may not know it.
#[derive(Deserialize)]
struct RawReply {
    order: Option<Order>,
}

/// Which system talks.
#[derive(Debug, Clone)]
pub struct System {
    /// In which version of the protocol it talks.
    pub protocol: u32,
    /// The kernel's boot id.
    pub boot_id: String,
    /// By which key its ssh server is known; the ramdisk has none.
    pub ssh_host_key: Option<SshHostKey>,
    /// How it is; the ramdisk does not say.
    pub health: Latest,
}

/// A talk with a key.
#[derive(Debug)]
pub struct Session {
    talk: Arc<Talk>,
    at_once_max: usize,
}

#[derive(Debug)]
struct Talk {
    client: Client,
    executor: Executor,
    system: System,
    rhythm: Rhythm,
    log: Log,
    busy: Mutex<Vec<StepId>>,
    freed: Condvar,
}

impl Session {
    /// A talk over `client`, which has its key; `executor` does the steps, one after another.
    pub fn new(
        client: Client,
        executor: Executor,
        system: System,
        rhythm: Rhythm,
        log: Log,
    ) -> Self {
        let (busy, freed) = (Mutex::default(), Condvar::new());
        let talk = Talk { client, executor, system, rhythm, log, busy, freed };
        Self { talk: Arc::new(talk), at_once_max: 1 }
    }

    /// The same with up to so many orders at once.
    #[must_use]
    pub fn with_orders_at_once(mut self, at_once_max: usize) -> Self {
        self.at_once_max = at_once_max.max(1);
        self
    }

    /// Polls and does what is ordered, until the daemon refuses. Orders in progress go on then, and
    /// the next call knows of them.
    pub fn run(&self) -> ClientError {
        let talk = &self.talk;
        let mut connected = false;
        loop {
            talk.await_room(self.at_once_max, talk.rhythm.heartbeat);
            let asked = Instant::now();
            let order = match talk.until_answered("poll", Talk::poll) {
                Ok(order) => order,
                Err(error) => return error,
            };
            if !std::mem::replace(&mut connected, true) {
                talk.log.say("connected to the daemon, waiting for orders");
                talk.executor.answered();
            }
            let begun = order.is_some_and(|order| self.begin(order));
            if !begun {
                // Nothing, or nothing that can be begun now: not again at once.
                thread::sleep(talk.rhythm.poll_every.saturating_sub(asked.elapsed()));
            }
        }
    }

    /// Does an order, on a thread of its own. Not if it is in progress, and not above the limit: the
    /// daemon gives it again.
    fn begin(&self, order: Order) -> bool {
        let id = order.id;
        {
            let is_other = !self.talk.busy().contains(&id);
            if is_other {
                self.talk.await_room(self.at_once_max, ROOM_WAIT.min(self.talk.rhythm.heartbeat));
            }
            let mut busy = self.talk.busy();
            if busy.contains(&id) || busy.len() >= self.at_once_max {
                return false;
            }
            busy.push(id);
        }
        // Where there can be no thread, the slot is dropped with the closure.
        let slot = Slot { talk: self.talk.clone(), id };
        let work = move || {
            if !slot.talk.work(order) {
                // It stays in progress until this program ends: the next one gets it again.
                std::mem::forget(slot);
            }
        };
        match thread::Builder::new().name(format!("step {id}")).spawn(work) {
            Ok(_) => true,
            Err(error) => {
                self.talk.log.say(format_args!("cannot begin step {id}: {error}"));
                false
            }
        }
    }
}

/// An order's place among those in progress, free again when it is dropped.
struct Slot {
    talk: Arc<Talk>,
    id: StepId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.talk.busy().retain(|id| *id != self.id);
        self.talk.freed.notify_all();
    }
}

impl Talk {
    fn busy(&self) -> MutexGuard<'_, Vec<StepId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another order can be begun, but not for longer than `patience`.
    fn await_room(&self, at_once_max: usize, patience: Duration) {
        let full = |busy: &mut Vec<StepId>| busy.len() >= at_once_max;
        drop(self.freed.wait_timeout_while(self.busy(), patience, full));
    }

    fn poll(&self) -> Result<Option<Order>, ClientError> {
        let busy = self.busy().clone();
        let System { protocol, boot_id, ssh_host_key, health } = self.system.clone();
        let health = health.now();
        let poll = Poll { protocol, boot_id, busy, ssh_host_key, health };
        let reply: RawReply = self.client.post("/agent/v1/poll", &poll, POLL_DEADLINE)?;
        Ok(reply.order)
    }

    /// Does an order and reports it; says whether there was a report.
    fn work(&self, order: Order) -> bool {
        let id = order.id;
        let Some(report) = self.executor.execute(order) else { return false };
        if let Err(error) = self.until_answered("report", |s| s.report(&report)) {
            // The daemon has no use for it, for instance since the step was cancelled meanwhile.
            self.log.say(format_args!("the report of step {id} was not taken: {error}"));
        }
        true
    }

    fn report(&self, report: &Report) -> Result<(), ClientError> {
        self.client.tell("/agent/v1/report", report, REQUEST_DEADLINE)
    }

    /// Asks until there is an answer or a refusal, with growing pauses. A failure that repeats is
    /// said when it begins and when it ends.
    fn until_answered<T>(
        &self,
        what: &str,
        ask: impl Fn(&Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let began = Instant::now();
        let mut pause = Duration::from_secs(1).min(self.rhythm.pause_max);
        let mut failing = false;
        loop {
            match ask(self) {
                Ok(answer) => {
                    if failing {
                        let gap = began.elapsed().as_secs();
                        self.log.say(format_args!("the daemon answers again after {gap} s"));
                    }
                    return Ok(answer);
                }
                Err(error @ ClientError::Refused { .. }) if !error.is_retryable() => {
                    return Err(error);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        self.log.say(format_args!("{what}: {error}; trying until it succeeds"));
                    }
                }
            }
            thread::sleep(pause);
            pause = (pause * 2).min(self.rhythm.pause_max);
        }
    }
}
