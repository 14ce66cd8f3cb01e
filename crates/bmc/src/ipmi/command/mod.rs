//! What the controller answers to the commands that a session delivers.
//!
//! [`Controller`] holds what is volatile in a baseboard controller and asks the [`Machine`] for
//! the rest. The machine may be slow, the client is not patient: every question to the machine
//! has a deadline, and a power action that takes longer is answered "accepted" and goes on.

mod app;
mod boot;
mod chassis;
pub mod table;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::{boot::BootOptions, chassis::Chassis};
use super::{
    completion::Completion,
    machine::{Identity, Machine, MachineError, SerialLine},
    msg::{
        NETFN_APP, NETFN_CHASSIS, chassis_control, chassis_identify, get_acpi_power_state,
        get_boot_options, get_chassis_capabilities, get_chassis_status, get_device_guid,
        get_device_id, get_poh_counter, get_restart_cause, get_self_test, set_boot_options,
    },
    session::{Reply, Request},
    wire::{Command, Encode},
};

/// How long a client waits for what the machine knows; `ipmitool` asks again after a second.
const ANSWER_MAX: Duration = Duration::from_millis(600);

/// What a command gives, or the code that says why not.
type Answer<T> = Result<T, Completion>;

/// The commands of one virtual controller.
pub struct Controller {
    machine: Arc<dyn Machine>,
    identity: Identity,
    volatile: Mutex<Volatile>,
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
}

impl Controller {
    /// A controller that has just started.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self {
            identity: machine.identity(),
            machine,
            volatile: Mutex::default(),
            power: Arc::new(Semaphore::new(1)),
            actions: TaskTracker::new(),
        }
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
            _ => Err(Completion::INVALID_COMMAND),
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

fn read<C: Command>(data: &[u8]) -> Answer<C> {
    C::decode(data).map_err(|error| Completion::of_error(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has made the response for this")]
#[expect(clippy::unnecessary_wraps, reason = "the tail of every line of the dispatch")]
fn reply(response: impl Encode) -> Answer<Reply> {
    Ok(Reply::ok(&response))
}
