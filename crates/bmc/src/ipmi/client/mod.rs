//! The client half: one controller, one session, one question at a time.
//!
//! What is said and when is decided by [`dialogue`], which knows neither a socket nor a clock: it
//! asks again, logs in again, and keeps the session alive. [`power`] is why a power cycle happens
//! at most once. The rest is this shell around them, and the questions with typed answers.

mod dialogue;
mod discover;
mod error;
mod events;
mod handshake;
mod inventory;
pub mod keeper;
mod link;
#[cfg(test)]
mod lossy;
mod power;
mod quirks;
mod retry;
mod sensors;
mod session;
mod sol;
mod walk;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    dialogue::{Ask, Dialogue, Out, Twice},
    link::Link,
    power::{Next, Power},
    session::ClientSession,
};
use tokio::time::timeout_at;

use super::{
    completion::Completion,
    credentials::Credentials,
    guid::Guid,
    machine::{BootDevice, BootFlags, PowerAction, PowerState},
    msg::{
        boot_option::{BootOption, KEEP_WITHOUT_COMMAND, parameter},
        chassis_control, get_boot_options, get_chassis_status, get_device_id, get_sel_time,
        get_system_guid,
        lan::LanResponse,
        set_boot_options,
    },
    packet::DATAGRAM_BYTES_MAX,
    privilege::Privilege,
    random::Random,
    suite::CipherSuite,
    wire::{Command, Decode},
};
use crate::governor::{Budget, Gate};

pub use discover::Discovery;
pub use error::{ClientError, ErrorKind};
pub use inventory::OWN_FRU;
pub use sensors::{Health, Reading};
pub use sol::{SolEvent, SolLine, Steal};

/// How to talk to a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Acceptable cipher suites, best first.
    pub suites: Vec<CipherSuite>,
    /// Level of the session.
    pub privilege: Privilege,
    /// How long the first attempt waits for its answer; each further one twice as long as the one
    /// before, up to four times this. Whether anybody is there is known after five quarters of this
    /// for each attempt: 5 s by default.
    pub timeout_ms: u64,
    /// How often a question that may be asked twice is sent.
    pub attempts_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            suites: CipherSuite::PREFERRED.to_vec(),
            privilege: Privilege::Administrator,
            timeout_ms: 1000,
            attempts_max: 4,
        }
    }
}

/// A session with a controller; it is closed when dropped.
#[derive(Debug)]
pub struct Client {
    link: Link,
    dialogue: Dialogue,
    epoch: Instant,
    gate: Arc<Gate>,
    /// The vendor, once it was asked for.
    manufacturer: Option<u32>,
}

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// [`ClientError`] tells apart nobody there, wrong credentials, no common suite and too low
    /// a privilege.
    pub async fn connect(
        address: SocketAddr,
        credentials: Credentials,
        options: Options,
    ) -> Result<Self, ClientError> {
        let gate = Arc::new(Gate::new(Budget::UNLIMITED));
        Self::connect_through(address, credentials, options, gate).await
    }

    /// Opens a session; every question takes its turn at the controller's gate, which others
    /// may share.
    ///
    /// # Errors
    /// [`ClientError`], as [`Client::connect`].
    pub async fn connect_through(
        address: SocketAddr,
        credentials: Credentials,
        options: Options,
        gate: Arc<Gate>,
    ) -> Result<Self, ClientError> {
        let random =
            Random::from_system().map_err(|source| ClientError::Random { address, source })?;
        let timeout = Duration::from_millis(options.timeout_ms);
        let link = Link::open(address, timeout, options.attempts_max.max(1)).await?;
        let dialogue = Dialogue::new(address, credentials, options, random);
        let epoch = Instant::now();
        let mut client = Self { link, dialogue, epoch, gate, manufacturer: None };
        let gate = client.gate.clone();
        let _turn = gate.turn().await;
        let outs = client.dialogue.connect(client.now());
        client.run(outs).await?;
        Ok(client)
    }

    /// Whether its session is of this user with this password.
    fn is_for(&self, credentials: &Credentials) -> bool {
        self.dialogue.is_for(credentials)
    }

    /// Time since this client was made.
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The controller's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.link.address
    }

    /// The suite that was agreed on; `None` while the session is lost.
    #[must_use]
    pub fn suite(&self) -> Option<CipherSuite> {
        self.dialogue.session.as_ref().map(ClientSession::suite)
    }

    /// Who the controller is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device_id(&mut self) -> Result<get_device_id::Response, ClientError> {
        self.call(&get_device_id::Request, Twice::Harmless).await
    }

    /// Who the machine is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn system_guid(&mut self) -> Result<Guid, ClientError> {
        Ok(self.call(&get_system_guid::Request, Twice::Harmless).await?.guid)
    }

    /// The controller's clock, in seconds since 1970; small when nobody has told it the time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clock(&mut self) -> Result<u32, ClientError> {
        Ok(self.call(&get_sel_time::Request, Twice::Harmless).await?.time)
    }

    /// Power, faults, last event.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chassis_status(&mut self) -> Result<get_chassis_status::Response, ClientError> {
        self.call(&get_chassis_status::Request, Twice::Harmless).await
    }

    /// Whether the machine runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn power_state(&mut self) -> Result<PowerState, ClientError> {
        Ok(self.chassis_status().await?.power_state())
    }

    /// Asks for a power action; the controller may answer before it is done. What must not be done
    /// twice is sent once: when its answer is lost, nobody knows.
    ///
    /// # Errors
    /// [`ClientError`]; of kind `Conflict` when it is not possible in the present state, of kind
    /// `Unknown` when the caller has to read the state before asking again.
    pub async fn power(&mut self, action: PowerAction) -> Result<(), ClientError> {
        let (mut power, mut ask) = Power::new(action);
        loop {
            let answer = self.ask(ask).await;
            match power.on_answer(answer) {
                Next::Ask(next) => ask = next,
                Next::Done(answer) => {
                    return self.read::<chassis_control::Request>(&answer?).map(drop);
                }
            }
        }
    }

    /// What the firmware is told about the next boot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn boot_flags(&mut self) -> Result<BootFlags, ClientError> {
        let request =
            get_boot_options::Request { parameter: parameter::BOOT_FLAGS, set: 0, block: 0 };
        let response = self.call(&request, Twice::Harmless).await?;
        let BootOption::BootFlags(flags) = response.option else {
            return Err(ClientError::Malformed {
                address: self.link.address,
                operation: get_boot_options::Request::NAME,
                source: super::wire::WireError::Reserved {
                    message: get_boot_options::Request::NAME,
                    field: "parameter",
                    value: response.option.parameter().into(),
                },
            });
        };
        let flags = BootFlags { valid: flags.valid && !response.invalid, ..flags };
        Ok(quirks::from_wire(self.manufacturer().await?, flags))
    }

    /// Sets the boot device, for the next boot or for all. First the controller is told to keep
    /// it for longer than sixty seconds, as far as it can.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_boot_device(
        &mut self,
        device: BootDevice,
        efi: bool,
        persistent: bool,
    ) -> Result<(), ClientError> {
        let keep = BootOption::ValidBitClearing(KEEP_WITHOUT_COMMAND);
        match self.call(&set_boot_options::Request::set(keep), Twice::Harmless).await {
            Err(ClientError::Completion { code, .. }) => {
                tracing::debug!(bmc = %self.link.address, %code, "boot flag timer cannot be stopped");
            }
            other => {
                other?;
            }
        }
        let flags = match device {
            // "Valid, no device" would still force the way of booting.
            BootDevice::None => BootFlags::NONE,
            _ => BootFlags { device, efi, persistent, valid: true },
        };
        let flags = quirks::to_wire(self.manufacturer().await?, flags);
        let request = set_boot_options::Request::set(BootOption::BootFlags(flags));
        self.call(&request, Twice::Harmless).await.map(|_| ())
    }

    /// The vendor, who may mean other boot devices than the specification does.
    async fn manufacturer(&mut self) -> Result<u32, ClientError> {
        if let Some(manufacturer) = self.manufacturer {
            return Ok(manufacturer);
        }
        let manufacturer = self.device_id().await?.manufacturer;
        self.manufacturer = Some(manufacturer);
        Ok(manufacturer)
    }

    /// Keeps the session alive until `until`, from whenever nobody asks anything; for ever, if that
    /// does not come. Whoever holds a session to use it later waits here in the meantime.
    ///
    /// A session that is lost is opened again by the next question.
    pub async fn keep_alive(&mut self, until: Instant) {
        self.dialogue.keep_until(until.saturating_duration_since(self.epoch));
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while Instant::now() < until {
            let due = self.dialogue.deadline().map_or(until, |due| until.min(self.epoch + due));
            let received = timeout_at(due.into(), self.link.receive(&mut buffer)).await;
            let outs = match received {
                Ok(Some(length)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.dialogue.on_datagram(bytes, self.now())
                }
                Ok(None) => Vec::new(),
                Err(_) => self.dialogue.on_deadline(self.now()),
            };
            for out in outs {
                if let Out::Send(bytes) = out {
                    self.link.send(&bytes).await;
                }
            }
        }
    }

    /// Closes the session and waits for the controller to say so, once.
    pub async fn close(mut self) {
        let Some((mut session, question)) = self.dialogue.close() else { return };
        let accept = |bytes: &[u8]| {
            let (_, payload) = session.open(bytes)?;
            let response = LanResponse::decode(&payload).ok()?;
            question.is_answered_by(&response).then_some(())
        };
        self.link.attempts_max = 1;
        if self.link.exchange(&question.datagram, accept).await.is_none() {
            tracing::debug!(bmc = %self.link.address, "session not closed, it will time out");
        }
    }

    async fn call<C: Command>(
        &mut self,
        request: &C,
        twice: Twice,
    ) -> Result<C::Response, ClientError> {
        let answer = self.ask(Ask::new(request, twice)).await?;
        self.read::<C>(&answer)
    }

    async fn ask(&mut self, ask: Ask) -> Result<LanResponse, ClientError> {
        let gate = self.gate.clone();
        let _turn = gate.turn().await;
        let outs = self.dialogue.begin(ask, self.now());
        self.run(outs).await
    }

    /// Does what the dialogue says until the question has come to an end.
    async fn run(&mut self, mut outs: Vec<Out>) -> Result<LanResponse, ClientError> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            for out in outs {
                match out {
                    Out::Send(bytes) => self.link.send(&bytes).await,
                    Out::Done(result) => return result,
                }
            }
            let due = self.dialogue.deadline().unwrap_or_default();
            let received = timeout_at((self.epoch + due).into(), self.link.receive(&mut buffer));
            outs = match received.await {
                Ok(Some(length)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.dialogue.on_datagram(bytes, self.now())
                }
                Ok(None) => Vec::new(),
                Err(_) => self.dialogue.on_deadline(self.now()),
            };
        }
    }

    /// What a command gave, or why it did not.
    fn read<C: Command>(&self, answer: &LanResponse) -> Result<C::Response, ClientError> {
        let (address, command) = (self.link.address, C::NAME);
        let privilege = self.dialogue.options.privilege;
        match answer.completion {
            Completion::OK => C::Response::decode(&answer.data)
                .map_err(|source| ClientError::Malformed { address, operation: command, source }),
            Completion::PRIVILEGE_TOO_LOW => {
                Err(ClientError::PrivilegeTooLow { address, operation: command, privilege })
            }
            code => Err(ClientError::Completion { address, command, code }),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((_, question)) = self.dialogue.close() {
            self.link.tell(&question.datagram);
        }
    }
}
