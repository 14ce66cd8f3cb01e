//! What the controller answers to the commands that a session delivers.
//!
//! [`Controller`] holds what is volatile in a baseboard controller and asks the [`Machine`] for
//! the rest. The machine may be slow, the client is not patient: every question to the machine
//! has a deadline, and a power action that takes longer is answered "accepted" and goes on.

mod app;
mod boot;
mod chassis;
mod dcmi;
mod fru;
mod lan;
pub mod nvram;
mod pef;
mod sel;
mod sensors;
mod system;
pub mod table;
mod users;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use self::{boot::BootOptions, chassis::Chassis, nvram::Nvram, sel::Reservation, sensors::Sample};
use super::{
    completion::Completion,
    machine::{Identity, Machine, MachineError, PowerState, SerialLine},
    msg::{
        NETFN_APP, NETFN_CHASSIS, NETFN_GROUP, NETFN_SENSOR, NETFN_STORAGE, NETFN_TRANSPORT,
        chassis_control, chassis_identify, get_acpi_power_state, get_boot_options,
        get_chassis_capabilities, get_chassis_status, get_device_guid, get_device_id,
        get_poh_counter, get_restart_cause, get_self_test, set_boot_options, set_restore_policy,
    },
    session::{LAN_CHANNEL, Reply, Request},
    wire::{Command, Encode},
};
use crate::accounts::Accounts;

/// How long a client waits for what the machine knows; `ipmitool` asks again after a second.
const ANSWER_MAX: Duration = Duration::from_millis(600);

/// What a command gives, or the code that says why not.
type Answer<T> = Result<T, Completion>;

/// The commands of one virtual controller.
pub struct Controller {
    machine: Arc<dyn Machine>,
    identity: Identity,
    accounts: Accounts,
    address: Option<SocketAddr>,
    volatile: Mutex<Volatile>,
    nvram: Mutex<Nvram>,
    nvram_changes: watch::Sender<u64>,
    /// One power action at a time; the next one is answered "busy".
    power: Arc<Semaphore>,
    actions: TaskTracker,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What a reset of the controller forgets.
#[derive(Debug, Default)]
struct Volatile {
    chassis: Chassis,
    boot: BootOptions,
    sel: Reservation,
    sdr: Reservation,
    /// The last two readings of the machine.
    samples: Option<(Sample, Sample)>,
    /// The machine's power when it was last looked at.
    power: Option<PowerState>,
}

impl Controller {
    /// A controller that has just started.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self {
            identity: machine.identity(),
            machine,
            accounts: Accounts::from_table(BTreeMap::new()),
            address: None,
            volatile: Mutex::default(),
            nvram: Mutex::default(),
            nvram_changes: watch::Sender::new(0),
            power: Arc::new(Semaphore::new(1)),
            actions: TaskTracker::new(),
        }
    }

    /// With the users that the session layer knows.
    #[must_use]
    pub fn with_accounts(self, accounts: Accounts) -> Self {
        Self { accounts, ..self }
    }

    /// With the address that it answers on.
    #[must_use]
    pub fn with_address(self, address: SocketAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// With what it kept when it ran before.
    #[must_use]
    pub fn with_nvram(self, nvram: Nvram) -> Self {
        Self { nvram: Mutex::new(nvram), ..self }
    }

    /// What it keeps, as it is now.
    #[must_use]
    pub fn export_nvram(&self) -> Nvram {
        self.nvram(Nvram::clone)
    }

    /// Counts the changes of what it keeps: whoever stores it waits for the next one.
    #[must_use]
    pub fn nvram_changes(&self) -> watch::Receiver<u64> {
        self.nvram_changes.subscribe()
    }

    /// Who the machine is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Executes one command.
    pub async fn answer(&self, request: &Request, now: Duration) -> Reply {
        let answer = match request.netfn {
            NETFN_CHASSIS => self.answer_chassis(request, now).await,
            NETFN_APP => self.answer_app(request).await,
            NETFN_SENSOR => self.answer_sensor(request, now).await,
            NETFN_STORAGE => match request.command {
                0x10..=0x1f => self.answer_fru(request),
                0x20..=0x3f => self.answer_sdr(request),
                _ => self.answer_sel(request),
            },
            NETFN_TRANSPORT => self.answer_transport(request),
            NETFN_GROUP => self.answer_group(request),
            _ => Err(Completion::INVALID_COMMAND),
        };
        answer.unwrap_or_else(Reply::code)
    }

    async fn answer_chassis(&self, request: &Request, now: Duration) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_chassis_capabilities::Request::CODE => reply(self.capabilities(read(data)?)),
            get_chassis_status::Request::CODE => reply(self.status(read(data)?, now).await?),
            chassis_control::Request::CODE => reply(self.control(read(data)?, now).await?),
            chassis_identify::Request::CODE => reply(self.identify(read(data)?, now)),
            get_restart_cause::Request::CODE => reply(self.restart_cause(read(data)?)),
            get_poh_counter::Request::CODE => reply(self.poh_counter(read(data)?).await?),
            set_restore_policy::Request::CODE => reply(self.restore_policy(&read(data)?)?),
            set_boot_options::Request::CODE => reply(self.set_boot_option(read(data)?, now).await?),
            get_boot_options::Request::CODE => reply(self.boot_option(read(data)?, now).await?),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    async fn answer_app(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_device_id::Request::CODE => reply(self.device_id(read(data)?)),
            get_device_guid::Request::CODE => reply(self.device_guid(read(data)?)),
            get_self_test::Request::CODE => reply(app::self_test(read(data)?)),
            get_acpi_power_state::Request::CODE => reply(self.acpi_power_state(read(data)?).await?),
            0x43..=0x4d => self.answer_users(request),
            _ => self.answer_system(request),
        }
    }

    /// When [`Controller::on_deadline`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.volatile().boot.expires_at()
    }

    /// Ends the validity of boot flags that nobody used within sixty seconds.
    pub async fn on_deadline(&self, now: Duration) {
        self.expire_boot_flags(now).await;
    }

    /// Warm or cold reset: what is volatile is forgotten, the machine runs on.
    pub fn reset(&self) {
        *self.volatile() = Volatile::default();
    }

    /// The machine's serial port.
    ///
    /// # Errors
    /// The completion code that says why not.
    pub async fn open_serial(&self) -> Result<SerialLine, Completion> {
        self.ask(self.machine.open_serial()).await
    }

    /// Waits until no power action is under way.
    pub async fn finish(&self) {
        self.actions.close();
        self.actions.wait().await;
    }

    fn volatile(&self) -> MutexGuard<'_, Volatile> {
        // Nothing that holds the lock can stop half-way: a poisoned value is still whole.
        self.volatile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the machine says, unless it takes too long.
    async fn ask<T: Send>(
        &self,
        question: impl Future<Output = Result<T, MachineError>> + Send,
    ) -> Answer<T> {
        match tokio::time::timeout(ANSWER_MAX, question).await {
            Ok(answer) => answer.map_err(|error| self.refusal(&error)),
            Err(_) => Err(Completion::TIMEOUT),
        }
    }

    fn refusal(&self, error: &MachineError) -> Completion {
        match error {
            MachineError::Busy => Completion::NODE_BUSY,
            MachineError::WrongState => Completion::WRONG_STATE,
            MachineError::Unsupported => Completion::INVALID_FIELD,
            MachineError::Failed(_) => {
                tracing::warn!(machine = self.identity.name, %error, "machine command failed");
                Completion::UNSPECIFIED
            }
        }
    }
}

fn is_lan(channel: u8) -> bool {
    // 0x0e is "the channel this came by".
    matches!(channel, LAN_CHANNEL | 0x0e)
}

fn read<C: Command>(data: &[u8]) -> Answer<C> {
    C::decode(data).map_err(|error| Completion::of_error(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has made the response for this")]
#[expect(clippy::unnecessary_wraps, reason = "the tail of every line of the dispatch")]
fn reply(response: impl Encode) -> Answer<Reply> {
    Ok(Reply::ok(&response))
}
