//! The task that minds one machine: it alone starts QEMU, talks to it, and sees it end.
//!
//! ```text
//!            start, or found again                 control socket lost
//!   Off ───────────────────────────▶ On, controlled ─────────────────▶ On, not controlled
//!    ▲                                  │      ▲                          │        │
//!    └────────── process ended ─────────┘      └──── connected again ─────┘        │
//!    └───────────────────────────── process ended ─────────────────────────────────┘
//! ```
//! Observed power is whether the process lives, told by its pidfd; nothing is asked for it.
//!
//! **Settling.** After a reset by QEMU, SeaBIOS finds itself in a warm machine and resets it once
//! more within 100 ms. A boot order for one boot must last over both, so the order goes back to
//! the default, and resets count anew, only [`SETTLE`] after the first reset.

use std::{future::pending, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use undercloud_model::{PowerAction, PowerState};

use super::{
    BootFlags, Host, MachineDefinition, MachineEvent, Observed,
    boot::{self, Kept, Order},
    container,
    files::{InsertedMedia, MachineFiles, NewMedia},
    media::MediaDrive,
    process::Process,
    start::{Started, start},
};
use crate::{
    LabError, MachineKind,
    qmp::{Event, Qmp, QmpError},
};

/// Longer than from one reset to the one that SeaBIOS adds, shorter than any boot.
const SETTLE: Duration = Duration::from_secs(2);
const QMP_DEADLINE: Duration = Duration::from_secs(5);
/// QEMU writes out what the guest had written, then ends.
const QUIT_DEADLINE: Duration = Duration::from_secs(10);
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<(), LabError>>;

/// What is asked of a machine.
pub(super) enum Request {
    Power(PowerAction, Answer),
    Interrupt(Answer),
    BootFlags(Option<BootFlags>, Answer),
    /// Put this medium in, or take any out.
    Media(MediaDrive, Option<(NewMedia, InsertedMedia)>, Answer),
}

pub(super) struct Supervisor {
    pub(super) machine: Arc<MachineDefinition>,
    pub(super) files: MachineFiles,
    host: Arc<Host>,
    events: broadcast::Sender<MachineEvent>,
    observed: watch::Sender<Observed>,
    process: Option<Process>,
    pub(super) control: Option<Control>,
    flags: Option<BootFlags>,
    /// It is off for the moment, and to be started.
    cycling: bool,
    settled_at: Option<Instant>,
    reconnect_at: Option<Instant>,
}

pub(super) struct Control {
    qmp: Qmp,
    events: mpsc::Receiver<Event>,
    /// The order that QEMU has; unknown after a reconnection.
    order: Option<Order>,
}

impl Supervisor {
    /// Looks whether the machine runs.
    pub(super) fn attach(
        machine: Arc<MachineDefinition>,
        files: MachineFiles,
        host: Arc<Host>,
        events: broadcast::Sender<MachineEvent>,
    ) -> Result<(Self, watch::Receiver<Observed>), LabError> {
        let process = Process::find(machine.system_guid, machine.uid)
            .map_err(LabError::file("search", "/proc"))?;
        if process.is_none() {
            container::clean(&machine, &files, &host);
        }
        let kept = files.read_boot()?;
        let found = kept.found(process.is_some());
        if found != kept {
            files.write_boot(found)?;
        }
        let (observed, reader) = watch::channel(Observed {
            power: PowerState::Off,
            pid: None,
            controlled: false,
            flags: found.flags,
        });
        let supervisor = Self {
            machine,
            files,
            host,
            events,
            observed,
            process,
            control: None,
            flags: found.flags,
            cycling: found.cycling,
            settled_at: None,
            reconnect_at: None,
        };
        supervisor.publish();
        Ok((supervisor, reader))
    }

    /// Minds the machine until no handle to it is left. QEMU runs on.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if self.process.is_some() {
            self.reconnect().await;
            self.publish();
        } else if self.cycling {
            tracing::info!(machine = %self.machine.name, "a power cycle was cut short: started");
            if let Err(error) = self.start().await {
                tracing::warn!(machine = %self.machine.name, error = %error, "it stays off");
            }
            self.publish();
        }
        loop {
            let timer = [self.settled_at, self.reconnect_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = ended(self.process.as_ref()) => self.on_end().await,
                event = next_event(self.control.as_mut()) => match event {
                    Some(event) => self.on_event(event),
                    None => self.on_lost(),
                },
                request = requests.recv() => match request {
                    Some(request) => self.on_request(request).await,
                    None => return,
                },
                () = reached(timer) => self.on_timer().await,
            }
            self.publish();
        }
    }

    fn publish(&self) {
        let seen = Observed {
            power: if self.process.is_some() { PowerState::On } else { PowerState::Off },
            pid: self.process.as_ref().map(Process::pid),
            controlled: self.control.is_some(),
            flags: self.flags,
        };
        let before = self.observed.send_replace(seen);
        if before.power != seen.power {
            tracing::info!(machine = %self.machine.name, power = ?seen.power, "power changed");
            self.tell(MachineEvent::Power(seen.power));
        }
        if before.flags != seen.flags {
            self.tell(MachineEvent::BootFlags(seen.flags));
        }
    }

    fn tell(&self, event: MachineEvent) {
        // Without a listener there is nobody to tell.
        let _ = self.events.send(event);
    }

    /// The process ended. What it said last (that and why it shuts down) is told before its end;
    /// the socket of a dead process ends by itself.
    async fn on_end(&mut self) {
        while self.control.is_some()
            && let Ok(Some(event)) = timeout(QMP_DEADLINE, next_event(self.control.as_mut())).await
        {
            self.on_event(event);
        }
        if let Some(mut process) = self.process.take() {
            process.collect();
            container::clean(&self.machine, &self.files, &self.host);
        }
        self.control = None;
        self.settled_at = None;
        self.reconnect_at = None;
    }

    fn on_lost(&mut self) {
        self.control = None;
        self.reconnect_at = Some(Instant::now() + RECONNECT_EVERY);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Reset { guest, .. } => {
                // The reset that SeaBIOS adds is part of the first one.
                if self.settled_at.is_none() {
                    self.settled_at = Some(Instant::now() + SETTLE);
                    self.use_up_flags();
                    self.tell(MachineEvent::Reset { guest });
                }
            }
            Event::Shutdown { guest, reason } => {
                self.tell(MachineEvent::ShuttingDown { guest, reason });
            }
            Event::Powerdown => self.tell(MachineEvent::PowerButton),
            Event::GuestPanicked => self.tell(MachineEvent::Panicked),
            Event::BlockIoError { reason } => {
                tracing::warn!(machine = %self.machine.name, reason, "disk error of a machine");
                self.tell(MachineEvent::DiskError { reason });
            }
            Event::Stop | Event::Resume | Event::Other(_) => {}
        }
    }

    async fn on_timer(&mut self) {
        let now = Instant::now();
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.reconnect_at = None;
            self.reconnect().await;
        }
        if self.settled_at.is_some_and(|at| at <= now)
            && let Err(error) = self.apply_order().await
        {
            // Retried with the next flags, reset or connection; the machine itself runs.
            tracing::warn!(machine = %self.machine.name, error = %error, "boot order not set");
        }
    }

    async fn reconnect(&mut self) {
        let connected = match self.files.connect_qmp().await {
            Ok(stream) => Qmp::start(stream).await,
            Err(source) => Err(QmpError::Io { operation: "connect to", source }),
        };
        match connected {
            Ok((qmp, events)) => {
                self.control = Some(Control { qmp, events, order: None });
                self.settled_at = Some(Instant::now());
                tracing::info!(machine = %self.machine.name, "machine found running");
                if let Err(error) = self.show_media().await {
                    tracing::warn!(machine = %self.machine.name, error = %error, "media not changed");
                }
            }
            Err(error) => {
                tracing::debug!(machine = %self.machine.name, error = %error, "no control yet");
                self.reconnect_at = Some(Instant::now() + RECONNECT_EVERY);
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        let (result, answer) = match request {
            Request::Power(action, answer) => (self.power(action).await, answer),
            Request::Interrupt(answer) => (self.interrupt().await, answer),
            Request::BootFlags(flags, answer) => (self.set_flags(flags).await, answer),
            Request::Media(drive, media, answer) => (self.set_media(drive, media).await, answer),
        };
        // Before the answer, so that whoever gets it reads the new state.
        self.publish();
        // The caller may have gone away; what was done stays done.
        let _ = answer.send(result);
    }

    async fn power(&mut self, action: PowerAction) -> Result<(), LabError> {
        // A machine that ended a moment ago is off, even if its end was not handled yet.
        if self.process.as_ref().is_some_and(|process| !process.is_alive()) {
            self.on_end().await;
        }
        let on = self.process.is_some();
        match action {
            PowerAction::On if on => Ok(()),
            PowerAction::On => self.start().await,
            PowerAction::Off => self.stop().await,
            PowerAction::Cycle => {
                let cycled = self.cycle().await;
                if std::mem::take(&mut self.cycling) {
                    // It did not come to a start: whoever asked is told that.
                    self.keep(self.flags)?;
                }
                cycled
            }
            PowerAction::SoftOff if !on => Ok(()),
            PowerAction::SoftOff => self.execute("system_powerdown", Value::Null).await,
            PowerAction::Reset if !on => {
                let machine = self.machine.name.clone();
                Err(LabError::PoweredOff { machine, action: "reset" })
            }
            PowerAction::Reset => {
                self.apply_order().await?;
                self.execute("system_reset", Value::Null).await
            }
        }
    }

    /// Off and on. A process that died between the two would leave it off for good, so that it is to
    /// be started is written down before.
    async fn cycle(&mut self) -> Result<(), LabError> {
        self.cycling = true;
        self.keep(self.flags)?;
        self.stop().await?;
        self.publish();
        self.start().await
    }

    async fn interrupt(&mut self) -> Result<(), LabError> {
        if self.process.is_none() {
            let machine = self.machine.name.clone();
            return Err(LabError::PoweredOff { machine, action: "diagnostic interrupt" });
        }
        self.execute("inject-nmi", Value::Null).await
    }

    async fn start(&mut self) -> Result<(), LabError> {
        let order = boot::order(self.flags);
        self.files.write_boot(Kept { flags: self.flags, starting: true, cycling: self.cycling })?;
        let started = start(&self.machine, &self.files, &self.host, order).await;
        self.cycling = false;
        match started {
            Ok(Started { process, qmp, events }) => {
                self.process = Some(process);
                self.control = Some(Control { qmp, events, order: Some(order) });
                self.settled_at = Some(Instant::now() + SETTLE);
                self.use_up_flags();
                Ok(())
            }
            Err(error) => {
                self.keep(self.flags)?;
                Err(error)
            }
        }
    }

    async fn stop(&mut self) -> Result<(), LabError> {
        let Some(process) = &self.process else { return Ok(()) };
        if let Some(control) = &self.control {
            // QEMU may be gone before it answers; whether it ended is what counts.
            let _ = control.qmp.execute("quit", Value::Null, QMP_DEADLINE).await;
        }
        let asked = self.control.is_some();
        if !(asked && process.ends_within(QUIT_DEADLINE).await) {
            tracing::warn!(machine = %self.machine.name, pid = process.pid(), "QEMU killed");
            process.kill().map_err(LabError::file("kill the process of", self.files.vm()))?;
            if !process.ends_within(KILL_DEADLINE).await {
                let (machine, pid) = (self.machine.name.clone(), process.pid());
                return Err(LabError::Stuck { machine, pid });
            }
        }
        self.on_end().await;
        Ok(())
    }

    async fn set_flags(&mut self, flags: Option<BootFlags>) -> Result<(), LabError> {
        let machine = &self.machine;
        let drive = flags.and_then(|flags| boot::drive(flags.device));
        if let (MachineKind::Container, Some(drive)) = (machine.kind, drive) {
            let (machine, medium) = (machine.name.clone(), drive.medium());
            return Err(LabError::NoDriveEver { machine, medium });
        }
        self.keep(flags)?;
        self.flags = flags;
        let wished = super::BootReadback { flags, firmware: machine.firmware };
        if !wished.firmware_as_wished() {
            tracing::info!(
                machine = %machine.name,
                firmware = ?machine.firmware,
                "boot flags name another firmware than the machine has"
            );
        }
        // While the machine settles, the order stays; it is set at the end of that.
        if self.settled_at.is_none() { self.apply_order().await } else { Ok(()) }
    }

    fn use_up_flags(&mut self) {
        self.flags = boot::after_boot(self.flags);
        if let Err(error) = self.keep(self.flags) {
            tracing::warn!(machine = %self.machine.name, error = %error, "boot flags not kept");
        }
    }

    fn keep(&self, flags: Option<BootFlags>) -> Result<(), LabError> {
        self.files.write_boot(Kept { flags, starting: false, cycling: self.cycling })
    }

    /// Tells QEMU the order for the next reset.
    async fn apply_order(&mut self) -> Result<(), LabError> {
        self.settled_at = None;
        let order = boot::order(self.flags);
        let Some(control) = &self.control else { return Ok(()) };
        if control.order == Some(order) {
            return Ok(());
        }
        let there = self.devices().await?;
        // QEMU refuses an index that is taken, so all are taken away first.
        let unset = boot::BOOTABLE.iter().map(|device| (*device, -1));
        let set = order.iter().copied().zip(0..);
        for (device, index) in unset.chain(set).filter(|(device, _)| is_among(&there, device)) {
            let path = format!("/machine/peripheral/{device}");
            let arguments = json!({ "path": path, "property": "bootindex", "value": index });
            self.execute("qom-set", arguments).await?;
        }
        if let Some(control) = &mut self.control {
            control.order = Some(order);
        }
        Ok(())
    }

    /// The place of a device in the order that QEMU has, where that is known: else it is set soon.
    pub(super) fn boot_index(&self, device: &str) -> Option<usize> {
        self.control.as_ref()?.order?.iter().position(|other| *other == device)
    }

    /// Whether the QEMU that runs has this device; one that an earlier version of this program
    /// started may lack it.
    pub(super) async fn has_device(&self, device: &str) -> Result<bool, LabError> {
        Ok(is_among(&self.devices().await?, device))
    }

    async fn devices(&self) -> Result<Value, LabError> {
        self.ask("qom-list", json!({ "path": "/machine/peripheral" })).await
    }

    pub(super) async fn execute(&self, command: &str, arguments: Value) -> Result<(), LabError> {
        self.ask(command, arguments).await.map(drop)
    }

    pub(super) async fn ask(&self, command: &str, arguments: Value) -> Result<Value, LabError> {
        let failed = |source| LabError::Qmp {
            machine: self.machine.name.clone(),
            operation: command.to_owned(),
            source,
        };
        let control = self.control.as_ref().ok_or_else(|| failed(QmpError::Closed))?;
        control.qmp.execute(command, arguments, QMP_DEADLINE).await.map_err(failed)
    }
}

/// Whether `device` is in an answer to `qom-list`.
fn is_among(devices: &Value, device: &str) -> bool {
    devices.as_array().into_iter().flatten().any(|other| other["name"] == device)
}

async fn ended(process: Option<&Process>) {
    match process {
        Some(process) => process.ended().await,
        None => pending().await,
    }
}

async fn next_event(control: Option<&mut Control>) -> Option<Event> {
    match control {
        Some(control) => control.events.recv().await,
        None => pending().await,
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
