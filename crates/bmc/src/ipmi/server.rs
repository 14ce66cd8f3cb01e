//! The shell around one virtual controller: a socket, a clock, and nothing to decide.
//!
//! Many servers live in one process, each with a socket of its own. A server ends when its
//! [`ServerHandle`] is dropped.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use thiserror::Error;
use tokio::{
    net::UdpSocket,
    runtime::Handle,
    sync::watch,
    time::{Sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use undercloud_serve::Patience;

use super::{
    command::Controller,
    completion::Completion,
    credentials::Password,
    machine::{Machine, PowerState},
    packet::DATAGRAM_BYTES_MAX,
    random::Random,
    serial_port::{PortEvent, SerialPort},
    session::{Out, Reply, SerialId, Sessions, Ticket},
};
pub use crate::handle::ServerHandle;
use crate::{accounts::Accounts, memory::Memory};

/// Shortest password that a server accepts: RAKP gives everybody who can reach the port all that
/// is needed to guess passwords offline.
pub const PASSWORD_BYTES_MIN: usize = 16;
/// How long a server that ends waits for a power action under way.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The password would not survive an attack.
    #[error(
        "the password of the virtual BMC has {got} bytes; {PASSWORD_BYTES_MIN} to 20 are needed"
    )]
    ShortPassword {
        /// Its length.
        got: usize,
    },
    /// There is no tokio runtime here.
    #[error("the virtual BMC needs a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The socket cannot be used.
    #[error("the virtual BMC cannot use its socket")]
    Socket(#[source] io::Error),
    /// The system gives no random bytes.
    #[error("the virtual BMC gets no random bytes")]
    Random(#[source] getrandom::Error),
}

/// A virtual controller on a socket.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Answers on `socket` until the handle is dropped. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]; nothing runs then.
    pub fn start(
        socket: std::net::UdpSocket,
        accounts: impl Into<Accounts>,
        machine: Arc<dyn Machine>,
    ) -> Result<ServerHandle, ServerError> {
        Self::start_kept(socket, Memory::new(accounts), machine)
    }

    /// The same, with what the controller kept when it ran before; whoever stores it has a clone
    /// of `memory`.
    ///
    /// # Errors
    /// [`ServerError`]; nothing runs then.
    pub fn start_kept(
        socket: std::net::UdpSocket,
        memory: Memory,
        machine: Arc<dyn Machine>,
    ) -> Result<ServerHandle, ServerError> {
        let Memory { accounts, nvram } = memory;
        let table = accounts.table();
        let passwords = table.values().filter_map(|account| account.password.as_ref());
        if let Some(got) = passwords.map(Password::length).find(|got| *got < PASSWORD_BYTES_MIN) {
            return Err(ServerError::ShortPassword { got });
        }
        let runtime = Handle::try_current().map_err(ServerError::NoRuntime)?;
        let random = Random::from_system().map_err(ServerError::Random)?;
        socket.set_nonblocking(true).map_err(ServerError::Socket)?;
        let socket = UdpSocket::from_std(socket).map_err(ServerError::Socket)?;
        let address = socket.local_addr().map_err(ServerError::Socket)?;
        let power = machine.power_changes();
        let controller = Controller::new(machine)
            .with_accounts(accounts.clone())
            .with_address(address)
            .with_nvram(nvram);
        let controller = if power.is_some() { controller.watched() } else { controller };
        let controller = Arc::new(controller);
        let sessions = Sessions::new(accounts, controller.identity().system_guid, random)
            .with_port(address.port());
        let cancel = CancellationToken::new();
        let epoch = Instant::now();
        let answers = FuturesUnordered::new();
        let shell = Shell { socket, sessions, controller, answers, power, port: None, epoch };
        Ok(ServerHandle::run(&runtime, address, cancel.clone(), shell.run(cancel)))
    }
}

/// What something under way came to.
enum Answered {
    /// A request's reply.
    Reply(Ticket, Reply),
    /// The machine's serial port, or why not.
    Serial(SerialId, Result<SerialPort, Completion>),
    /// Something that nobody waits for.
    Done,
}

struct Shell {
    socket: UdpSocket,
    sessions: Sessions,
    controller: Arc<Controller>,
    /// At most as many as all sessions together may have under way.
    answers: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Every change of the machine's power, where somebody watches it.
    power: Option<watch::Receiver<PowerState>>,
    /// While a console has the machine's serial port.
    port: Option<(SerialId, SerialPort)>,
    epoch: Instant,
}

/// A timer that is only set again when it would fire too late; too early does no harm.
struct Alarm {
    at: Option<Duration>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn set(&mut self, wanted: Option<Duration>, epoch: Instant) {
        let Some(wanted) = wanted else { return };
        if self.at.is_none_or(|at| wanted < at) {
            self.at = Some(wanted);
            self.sleep.as_mut().reset((epoch + wanted).into());
        }
    }
}

/// The machine's power after its next change; `None` when nobody watches it any more. Pending for
/// ever when nobody ever did.
async fn next_power(power: &mut Option<watch::Receiver<PowerState>>) -> Option<PowerState> {
    let Some(power) = power else { return std::future::pending().await };
    power.changed().await.ok().map(|()| *power.borrow_and_update())
}

/// When a datagram is there; not during a pause after an error.
async fn readable(socket: &UdpSocket, patience: &mut Patience) -> io::Result<()> {
    patience.wait().await;
    socket.readable().await
}

impl Shell {
    async fn run(mut self, cancel: CancellationToken) {
        let mut patience = Patience::new("virtual BMC");
        let mut alarm = Alarm { at: None, sleep: Box::pin(sleep_until(self.epoch.into())) };
        let controller = self.controller.clone();
        self.answers.push(Box::pin(async move {
            controller.on_start().await;
            Answered::Done
        }));
        loop {
            let wanted = [self.sessions.next_deadline(), self.controller.next_deadline()];
            alarm.set(wanted.into_iter().flatten().min(), self.epoch);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(answered) = self.answers.next(), if !self.answers.is_empty() => {
                    let outs = self.on_answered(answered);
                    self.act(outs).await;
                }
                state = next_power(&mut self.power) => match state {
                    Some(state) => self.controller.on_power(state),
                    None => self.power = None,
                },
                event = SerialPort::next(
                    self.port.as_mut().map(|(_, port)| port),
                    self.sessions.serial_room(),
                    self.sessions.serial_waiting(),
                ) => {
                    let outs = self.on_port(event);
                    self.act(outs).await;
                }
                ready = readable(&self.socket, &mut patience) => {
                    let received = ready.and_then(|()| self.receive());
                    if let Some(outs) = patience.heed(received) {
                        self.act(outs).await;
                    }
                }
                () = &mut alarm.sleep, if alarm.at.is_some() => {
                    alarm.at = None;
                    let outs = self.on_deadline();
                    self.act(outs).await;
                }
            }
            if self.port.as_ref().is_some_and(|(id, _)| self.sessions.serial() != Some(*id)) {
                self.port = None;
            }
        }
        drop(self.socket);
        if timeout(FINISH_MAX, self.controller.finish()).await.is_err() {
            tracing::warn!("virtual BMC ends before its power action");
        }
    }

    /// Takes one datagram, if there is one. The buffer is on the stack, for no longer than this:
    /// thousands of idle servers need none.
    fn receive(&mut self) -> io::Result<Vec<Out>> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        match self.socket.try_recv_from(&mut buffer) {
            Ok((length, source)) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                Ok(self.sessions.on_datagram(bytes, source, self.epoch.elapsed()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn on_answered(&mut self, answered: Answered) -> Vec<Out> {
        match answered {
            Answered::Reply(ticket, reply) => self.sessions.on_reply(ticket, &reply),
            Answered::Serial(id, Ok(port)) => {
                if self.sessions.serial() == Some(id) {
                    self.port = Some((id, port));
                }
                self.sessions.on_serial_opened(id, Ok(()))
            }
            Answered::Serial(id, Err(code)) => self.sessions.on_serial_opened(id, Err(code)),
            Answered::Done => Vec::new(),
        }
    }

    fn on_port(&mut self, event: PortEvent) -> Vec<Out> {
        let now = self.epoch.elapsed();
        match event {
            PortEvent::Said(characters) => self.sessions.on_serial_characters(&characters, now),
            PortEvent::Took(characters) => self.sessions.on_serial_taken(characters, now),
            PortEvent::Ended => {
                self.port = None;
                self.sessions.on_serial_ended()
            }
        }
    }

    fn on_deadline(&mut self) -> Vec<Out> {
        let now = self.epoch.elapsed();
        let outs = self.sessions.on_deadline(now);
        if self.controller.next_deadline().is_some_and(|at| at <= now) {
            let controller = self.controller.clone();
            self.answers.push(Box::pin(async move {
                controller.on_deadline(now).await;
                Answered::Done
            }));
        }
        outs
    }

    async fn act(&mut self, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Send { to, bytes } => {
                    if let Err(error) = self.socket.send_to(&bytes, to).await {
                        tracing::debug!(%error, %to, "virtual BMC cannot send");
                    }
                }
                Out::Deliver { ticket, request } => {
                    let controller = self.controller.clone();
                    let now = self.epoch.elapsed();
                    self.answers.push(Box::pin(async move {
                        let reply = controller.answer(&request, now).await;
                        Answered::Reply(ticket, reply)
                    }));
                }
                Out::Reset(reset) => {
                    let controller = self.controller.clone();
                    self.answers.push(Box::pin(async move {
                        controller.reset(reset).await;
                        Answered::Done
                    }));
                }
                Out::LoginFailed { from } => {
                    let machine = &self.controller.identity().name;
                    tracing::warn!(machine, %from, "IPMI login failed");
                    self.controller.on_failed_login();
                }
                Out::OpenSerial(id) => {
                    let controller = self.controller.clone();
                    self.answers.push(Box::pin(async move {
                        let line = controller.open_serial().await;
                        Answered::Serial(id, line.map(SerialPort::new))
                    }));
                }
                Out::SerialBreak(id) => {
                    if let Some((_, port)) = self.port.as_mut().filter(|(open, _)| *open == id) {
                        port.send_break();
                    }
                }
            }
        }
    }
}
