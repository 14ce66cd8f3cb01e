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
mod watchdog;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::{
    boot::BootOptions, chassis::Chassis, nvram::NvramCell, sel::Reservation, sensors::Sample,
    watchdog::Watchdog,
};
use super::{
    completion::Completion,
    machine::{Identity, Machine, MachineError, SerialLine},
    msg::{
        NETFN_APP, NETFN_CHASSIS, NETFN_GROUP, NETFN_SENSOR, NETFN_STORAGE, NETFN_TRANSPORT,
        chassis_control, chassis_identify, get_acpi_power_state, get_boot_options,
        get_chassis_capabilities, get_chassis_status, get_device_guid, get_device_id,
        get_poh_counter, get_restart_cause, get_self_test, set_boot_options, set_restore_policy,
    },
    session::{LAN_CHANNEL, Reply, Request, Reset},
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
    /// Whether somebody reports every change of the machine's power to [`Controller::on_power`].
    is_watched: bool,
    accounts: Accounts,
    address: Option<SocketAddr>,
    volatile: Mutex<Volatile>,
    nvram: NvramCell,
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
    /// Until when somebody is setting system info.
    system_info_until: Option<Duration>,
    watchdog: Watchdog,
}

impl Controller {
    /// A controller that has just started.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self {
            identity: machine.identity(),
            is_watched: false,
            machine,
            accounts: Accounts::from_table(BTreeMap::new()),
            address: None,
            volatile: Mutex::default(),
            nvram: NvramCell::default(),
            power: Arc::new(Semaphore::new(1)),
            actions: TaskTracker::new(),
        }
    }

    /// With the users that the session layer knows.
    #[must_use]
    pub fn with_accounts(self, accounts: Accounts) -> Self {
        Self { accounts, ..self }
    }

    /// With somebody who reports every change of power to [`Controller::on_power`].
    #[must_use]
    pub fn watched(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// With the address that it answers on.
    #[must_use]
    pub fn with_address(self, address: SocketAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// With what it kept when it ran before; whoever stores it has a clone.
    #[must_use]
    pub fn with_nvram(self, nvram: NvramCell) -> Self {
        Self { nvram, ..self }
    }

    /// What it keeps.
    #[must_use]
    pub fn nvram(&self) -> &NvramCell {
        &self.nvram
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
            NETFN_APP => self.answer_app(request, now).await,
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

    async fn answer_app(&self, request: &Request, now: Duration) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_device_id::Request::CODE => reply(self.device_id(read(data)?)),
            get_device_guid::Request::CODE => reply(self.device_guid(read(data)?)),
            get_self_test::Request::CODE => reply(app::self_test(read(data)?)),
            get_acpi_power_state::Request::CODE => reply(self.acpi_power_state(read(data)?).await?),
            0x43..=0x4d => self.answer_users(request),
            0x22 | 0x24 | 0x25 => self.answer_watchdog(request, now),
            _ => self.answer_system(request, now),
        }
    }

    /// When [`Controller::on_deadline`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let volatile = self.volatile();
        [volatile.boot.expires_at(), volatile.watchdog.next_deadline()].into_iter().flatten().min()
    }

    /// Ends the validity of boot flags that nobody used within sixty seconds; lets the watchdog
    /// bite.
    pub async fn on_deadline(&self, now: Duration) {
        self.expire_boot_flags(now).await;
        self.watch(now).await;
    }

    /// Starts over; the machine runs on (sections 20.2 and 20.3). A warm reset leaves every
    /// setting alone. A cold one forgets all that is not kept in [`Nvram`], as if the controller
    /// had lost its power: boot flags that were for one boot among it.
    pub async fn reset(&self, reset: Reset) {
        match reset {
            Reset::Warm => {
                let mut volatile = self.volatile();
                volatile.sel = Reservation::default();
                volatile.sdr = Reservation::default();
                volatile.system_info_until = None;
            }
            Reset::Cold => {
                *self.volatile() = Volatile::default();
                self.nvram.change(|it| it.log_events = true);
                self.forget_boot_flags().await;
            }
        }
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
