//! The client half: one controller, one session, one question at a time.
//!
//! A request that gets no answer is sent again as the very same datagram, so that the controller
//! cannot execute it twice. When nothing helps, the session is taken for lost: the client logs in
//! once more and asks again, but only what may be executed twice without harm. A power cycle or a
//! reset ends as [`ClientError::OutcomeUnknown`] instead.

mod discover;
mod error;
mod link;
mod login;
mod quirks;
mod session;
mod sol;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use self::{link::Link, login::Login, session::ClientSession};
use super::{
    completion::Completion,
    credentials::Credentials,
    guid::Guid,
    machine::{BootDevice, BootFlags, PowerAction, PowerState},
    msg::{
        boot_option::{BootOption, KEEP_WITHOUT_COMMAND, parameter},
        chassis_control, close_session, get_boot_options, get_chassis_status, get_device_id,
        get_sel_time, get_system_guid, set_boot_options, set_session_privilege,
    },
    privilege::Privilege,
    random::Random,
    suite::CipherSuite,
    wire::{Command, Decode, Encode},
};

pub use discover::Discovery;
pub use error::{ClientError, ErrorKind};
pub use sol::{SolEvent, SolLine, Steal};

/// After this time without a word the controller may have ended the session (60 s by the
/// specification, less with some vendors): look before doing what must not be done twice.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// How to talk to a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Acceptable cipher suites, best first.
    pub suites: Vec<CipherSuite>,
    /// Level of the session.
    pub privilege: Privilege,
    /// How long one attempt waits for its answer.
    pub timeout_ms: u64,
    /// How often the same datagram is sent.
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

/// Whether a command may be executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twice {
    Harmless,
    Harmful,
}

/// A session with a controller; it is closed when dropped.
#[derive(Debug)]
pub struct Client {
    link: Link,
    credentials: Credentials,
    options: Options,
    random: Random,
    session: Option<ClientSession>,
    last_answer: Instant,
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
        let random =
            Random::from_system().map_err(|source| ClientError::Random { address, source })?;
        let timeout = Duration::from_millis(options.timeout_ms);
        let link = Link::open(address, timeout, options.attempts_max.max(1)).await?;
        let last_answer = Instant::now();
        let mut client = Self {
            link,
            credentials,
            options,
            random,
            session: None,
            last_answer,
            manufacturer: None,
        };
        client.login().await?;
        Ok(client)
    }

    /// The controller's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.link.address
    }

    /// The suite that was agreed on; `None` while the session is lost.
    #[must_use]
    pub fn suite(&self) -> Option<CipherSuite> {
        self.session.as_ref().map(ClientSession::suite)
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

    /// Asks for a power action; the controller may answer before it is done.
    ///
    /// # Errors
    /// [`ClientError`]; of kind `Conflict` when it is not possible in the present state, of kind
    /// `Unknown` when the caller has to read the state before asking again.
    pub async fn power(&mut self, action: PowerAction) -> Result<(), ClientError> {
        let twice = if action.is_idempotent() { Twice::Harmless } else { Twice::Harmful };
        self.call(&chassis_control::Request { action }, twice).await.map(|_| ())
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
        let flags = BootFlags { device, efi, persistent, valid: true };
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

    /// Closes the session and waits for the controller to say so, once.
    pub async fn close(mut self) {
        if let Some(mut session) = self.session.take() {
            let question = close_question(&mut session, &mut self.random);
            let accept = |bytes: &[u8]| session.answer(&question, bytes);
            if self.link.exchange(&question.datagram, 1, accept).await.is_none() {
                tracing::debug!(bmc = %self.link.address, "session not closed, it will time out");
            }
        }
    }

    async fn login(&mut self) -> Result<(), ClientError> {
        self.session = None;
        let login = Login {
            link: &self.link,
            credentials: &self.credentials,
            options: &self.options,
            random: &mut self.random,
        };
        self.session = Some(login.run().await?);
        self.last_answer = Instant::now();
        let privilege = self.options.privilege;
        let request = set_session_privilege::Request { privilege: privilege.bits() };
        let (address, operation) = (self.link.address, set_session_privilege::Request::NAME);
        match self.attempt(&request).await {
            Some(Err(ClientError::Completion { code: Completion(0x80 | 0x81), .. })) => {
                Err(ClientError::PrivilegeTooLow { address, operation, privilege })
            }
            Some(result) => result.map(|_| ()),
            None => {
                let attempts = self.link.attempts_max;
                Err(ClientError::Timeout { address, operation, attempts })
            }
        }
    }

    async fn call<C: Command>(
        &mut self,
        request: &C,
        twice: Twice,
    ) -> Result<C::Response, ClientError> {
        let quiet = self.last_answer.elapsed() > QUIET_MAX;
        if self.session.is_none() {
            self.login().await?;
        } else if twice == Twice::Harmful && quiet {
            // Find out about a lost session by a question that may be asked twice.
            if self.attempt(&get_chassis_status::Request).await.is_none() {
                self.login().await?;
            }
        }
        if let Some(result) = self.attempt(request).await {
            return result;
        }
        let address = self.link.address;
        if twice == Twice::Harmful {
            self.session = None;
            return Err(ClientError::OutcomeUnknown { address, command: C::NAME });
        }
        tracing::info!(bmc = %address, command = C::NAME, "session lost, logging in again");
        self.login().await?;
        let attempts = self.link.attempts_max;
        let timeout = ClientError::Timeout { address, operation: C::NAME, attempts };
        self.attempt(request).await.unwrap_or(Err(timeout))
    }

    /// Asks in the present session; `None` when nothing answers.
    async fn attempt<C: Command>(
        &mut self,
        request: &C,
    ) -> Option<Result<C::Response, ClientError>> {
        let session = self.session.as_mut()?;
        let question = session.ask(C::NETFN, C::CODE, request.to_bytes(), &mut self.random);
        let accept = |bytes: &[u8]| session.answer(&question, bytes);
        let response =
            self.link.exchange(&question.datagram, self.link.attempts_max, accept).await?;
        self.last_answer = Instant::now();
        let (address, command) = (self.link.address, C::NAME);
        let privilege = self.options.privilege;
        Some(match response.completion {
            Completion::OK => C::Response::decode(&response.data)
                .map_err(|source| ClientError::Malformed { address, operation: command, source }),
            Completion::PRIVILEGE_TOO_LOW => {
                Err(ClientError::PrivilegeTooLow { address, operation: command, privilege })
            }
            code => Err(ClientError::Completion { address, command, code }),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            self.link.tell(&close_question(&mut session, &mut self.random).datagram);
        }
    }
}

fn close_question(session: &mut ClientSession, random: &mut Random) -> session::Question {
    let request = close_session::Request { session_id: session.controller_id };
    let (netfn, code) = (close_session::Request::NETFN, close_session::Request::CODE);
    session.ask(netfn, code, request.to_bytes(), random)
}
