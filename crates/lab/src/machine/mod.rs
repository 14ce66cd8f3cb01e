//! One machine: what it is, what it does now, and what can be done with it.
//!
//! A machine behaves like metal: off means that there is no QEMU process, on starts one. QEMU is
//! not this process's child for life: it has a session of its own and survives; whoever opens the
//! lab again finds it by its system GUID and takes over.
//!
//! Each machine has one task ([`supervisor`]) that alone talks to QEMU. [`Machine`] is a handle:
//! reading the power state reads a value in memory.

mod arguments;
mod boot;
mod container;
pub(crate) mod device_nodes;
pub(crate) mod files;
mod media;
pub(crate) mod process;
mod readings;
mod serial;
mod start;
mod supervisor;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use undercloud_model::{
    BootMode, MacAddr, NodeName, PowerAction, PowerState,
    node::{BootInterface, Driver},
};
use uuid::Uuid;

pub(crate) use arguments::{SANDBOX, as_user as user_command};
pub use boot::BootFlags;
use files::MachineFiles;
pub use files::{InsertedMedia, NewMedia};
pub use media::MediaDrive;
pub use readings::MachineReadings;
pub use serial::SerialPort;
use supervisor::{Request, Supervisor};

use crate::{Acceleration, LabError, LabNames, MachineKind, NetworkName, QemuFiles};

/// A slow reader of events loses the oldest beyond this many.
const EVENTS_KEPT_MAX: usize = 256;
const REQUESTS_QUEUED_MAX: usize = 16;

/// A machine as it was made. Kept in the state; never changes afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineDefinition {
    /// Its name.
    pub name: NodeName,
    /// What it is made of.
    #[serde(default)]
    pub kind: MachineKind,
    /// What it is for.
    pub profile: String,
    /// Which firmware starts it.
    pub firmware: BootMode,
    /// Its memory.
    pub memory_mib: u32,
    /// Its CPUs.
    pub cpus: u32,
    /// The size of its disk.
    pub disk_gib: u32,
    /// The serial number of its disk.
    pub disk_serial: String,
    /// Its further disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_disks: Vec<DiskDefinition>,
    /// The user and group that its QEMU runs as.
    pub uid: u32,
    /// Its system GUID.
    pub system_guid: Uuid,
    /// Its NICs; it boots from the first.
    pub nics: Vec<NicDefinition>,
    /// By which protocol its BMC is driven.
    #[serde(default)]
    pub driver: Driver,
    /// How its ramdisk gets to it.
    #[serde(default)]
    pub boot_interface: BootInterface,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDefinition {
    /// Its size.
    pub gib: u32,
    /// Its serial number.
    pub serial: String,
}

impl MachineDefinition {
    /// Its disks; it boots from the first.
    pub fn disks(&self) -> impl Iterator<Item = DiskDefinition> + '_ {
        let first = DiskDefinition { gib: self.disk_gib, serial: self.disk_serial.clone() };
        std::iter::once(first).chain(self.more_disks.iter().cloned())
    }
}

/// One NIC of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDefinition {
    /// In which network.
    pub network: NetworkName,
    /// Its address.
    pub mac: MacAddr,
}

/// What machines share: QEMU's files, the namespace, and how guests run.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) names: LabNames,
    pub(crate) program: std::path::PathBuf,
    pub(crate) files: QemuFiles,
    pub(crate) acceleration: Acceleration,
    pub(crate) namespace: String,
}

/// Something happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// Its observed power changed.
    Power(PowerState),
    /// It was reset.
    Reset {
        /// By the guest itself (a reboot), not by us.
        guest: bool,
    },
    /// It is about to go off.
    ShuttingDown {
        /// The guest switched itself off.
        guest: bool,
        /// QEMU's word for why.
        reason: String,
    },
    /// Its power button was pressed for it.
    PowerButton,
    /// Its operating system says that it crashed.
    Panicked,
    /// A read or write on the host's disk failed: most often it is full.
    DiskError {
        /// What the host said.
        reason: String,
    },
    /// The boot flags changed, or a one-time flag was used up.
    BootFlags(Option<BootFlags>),
}

/// Boot flags as they are read back, and what they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BootReadback {
    /// What was set; nothing means the default order: disk, then network.
    pub flags: Option<BootFlags>,
    /// The firmware that will start the machine, whatever the flags say: it is a property of the
    /// machine.
    pub firmware: BootMode,
}

impl BootReadback {
    /// Does the firmware honour the flags' wish for UEFI or BIOS?
    pub fn firmware_as_wished(&self) -> bool {
        self.flags.is_none_or(|flags| flags.efi == (self.firmware == BootMode::Uefi))
    }
}

/// A machine as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineStatus {
    /// Its name.
    pub name: NodeName,
    /// What it is made of.
    pub kind: MachineKind,
    /// Observed power.
    pub power: PowerState,
    /// QEMU's process.
    pub pid: Option<i32>,
    /// Is QEMU's control socket in our hands?
    pub controlled: bool,
    /// How it boots next.
    pub boot: BootReadback,
    /// Its memory.
    pub memory_mib: u32,
    /// Its CPUs.
    pub cpus: u32,
    /// The sizes of its disks.
    pub disks_gib: Vec<u32>,
    /// What of them takes room on this host.
    pub disk_used_mib: u64,
    /// The address of the NIC that it boots from.
    pub boot_mac: Option<MacAddr>,
}

/// What the machine's task last saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) power: PowerState,
    pub(crate) pid: Option<i32>,
    pub(crate) controlled: bool,
    pub(crate) flags: Option<BootFlags>,
}

/// A machine's observed power, as it changes.
#[derive(Debug, Clone)]
pub struct PowerChanges {
    observed: watch::Receiver<Observed>,
}

impl PowerChanges {
    /// Waits until the power is another than `known`; `None` when nobody minds the machine any
    /// more.
    pub async fn other_than(&mut self, known: PowerState) -> Option<PowerState> {
        let seen = self.observed.wait_for(|seen| seen.power != known).await;
        seen.ok().map(|seen| seen.power)
    }
}

/// A handle to one machine. Cheap to clone; when the last one is dropped the machine's task ends
/// and QEMU runs on.
#[derive(Debug, Clone)]
pub struct Machine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    definition: Arc<MachineDefinition>,
    files: MachineFiles,
    /// Names a container's control groups.
    scope: String,
    requests: mpsc::Sender<Request>,
    observed: watch::Receiver<Observed>,
    events: broadcast::Sender<MachineEvent>,
}

impl Machine {
    /// Starts to mind a machine: finds its QEMU if it runs.
    pub(crate) fn attach(
        definition: MachineDefinition,
        files: MachineFiles,
        host: Arc<Host>,
    ) -> Result<Self, LabError> {
        let definition = Arc::new(definition);
        let (requests, requests_in) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let (events, _) = broadcast::channel(EVENTS_KEPT_MAX);
        let scope = host.names.scope(&definition.name);
        let (supervisor, observed) =
            Supervisor::attach(definition.clone(), files.clone(), host, events.clone())?;
        tokio::spawn(supervisor.run(requests_in));
        let shared = Shared { definition, files, scope, requests, observed, events };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.shared.definition.name
    }

    /// What it is.
    pub fn definition(&self) -> &MachineDefinition {
        &self.shared.definition
    }

    /// Its power as last observed. Reads memory only.
    pub fn power_state(&self) -> PowerState {
        self.shared.observed.borrow().power
    }

    /// Waits until its observed power is `wanted`; the caller sets the deadline.
    ///
    /// # Errors
    /// When nobody minds the machine any more.
    pub async fn wait_for_power(&self, wanted: PowerState) -> Result<(), LabError> {
        let mut observed = self.shared.observed.clone();
        let waited = observed.wait_for(|seen| seen.power == wanted).await.map(drop);
        waited.map_err(|_| self.unattended())
    }

    /// Changes its power. `On`, `Off` and `Cycle` return when it is done; `SoftOff` when the
    /// power button was pressed (the guest may ignore it), `Reset` when QEMU was told.
    ///
    /// # Errors
    /// When QEMU does not start, does not end, or refuses; when there is not enough memory; when
    /// the action needs the machine on and it is off.
    pub async fn power(&self, action: PowerAction) -> Result<(), LabError> {
        self.ask(|answer| Request::Power(action, answer)).await
    }

    /// Sends a diagnostic interrupt (IPMI chassis control 4, "pulse diagnostic interrupt").
    ///
    /// # Errors
    /// When the machine is off or QEMU refuses.
    pub async fn diagnostic_interrupt(&self) -> Result<(), LabError> {
        self.ask(Request::Interrupt).await
    }

    /// How it boots next.
    pub fn boot_flags(&self) -> BootReadback {
        let flags = self.shared.observed.borrow().flags;
        BootReadback { flags, firmware: self.shared.definition.firmware }
    }

    /// Sets how it boots next: once, or from now on; `None` is the default order. A running
    /// machine honours it at its next reset, whoever causes that.
    ///
    /// # Errors
    /// When the machine has no such device, or the flags cannot be kept.
    pub async fn set_boot_flags(&self, flags: Option<BootFlags>) -> Result<(), LabError> {
        self.ask(|answer| Request::BootFlags(flags, answer)).await
    }

    /// What is in a drive of it.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn media(&self, drive: MediaDrive) -> Result<Option<InsertedMedia>, LabError> {
        self.shared.files.read_media(drive)
    }

    /// Begins a CD or a USB stick for it: a file to write the image to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_media(&self, drive: MediaDrive) -> Result<NewMedia, LabError> {
        self.shared.files.new_media(drive, &self.shared.definition)
    }

    /// Puts a medium that is written into its drive, in place of any other. It stays in over power
    /// cycles until it is ejected.
    ///
    /// # Errors
    /// When it cannot be kept, or QEMU refuses; when the machine was started without such a drive.
    pub async fn insert_media(&self, new: NewMedia, media: InsertedMedia) -> Result<(), LabError> {
        self.ask(|answer| Request::Media(new.drive(), Some((new, media)), answer)).await
    }

    /// Takes a medium out and forgets it; an empty drive stays empty.
    ///
    /// # Errors
    /// When it cannot be removed, or QEMU refuses.
    pub async fn eject_media(&self, drive: MediaDrive) -> Result<(), LabError> {
        self.ask(|answer| Request::Media(drive, None, answer)).await
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<MachineEvent> {
        self.shared.events.subscribe()
    }

    /// Its serial port, for instance for serial over LAN. The port has one user at a time.
    ///
    /// # Errors
    /// When the machine is off, or somebody else has its console.
    pub async fn open_serial(&self) -> Result<SerialPort, LabError> {
        let lock = self.shared.files.lock_serial(self.name())?;
        let stream = self.shared.files.connect_serial().await?;
        Ok(SerialPort { stream, lock })
    }

    /// What it uses; nothing while it is off.
    pub fn readings(&self) -> Option<MachineReadings> {
        let pid = self.shared.observed.borrow().pid?;
        readings::of(pid, &self.shared.definition, &self.shared.scope)
    }

    /// Its power from now on, whoever changes it; ends when nobody minds the machine any more.
    pub fn power_changes(&self) -> PowerChanges {
        PowerChanges { observed: self.shared.observed.clone() }
    }

    /// The log of its serial port: everything that it printed, also while nobody watched.
    pub fn console_log(&self) -> camino::Utf8PathBuf {
        self.shared.files.console_log()
    }

    /// It as lists show it.
    pub fn status(&self) -> MachineStatus {
        let definition = &self.shared.definition;
        let observed = *self.shared.observed.borrow();
        MachineStatus {
            name: definition.name.clone(),
            kind: definition.kind,
            power: observed.power,
            pid: observed.pid,
            controlled: observed.controlled,
            boot: BootReadback { flags: observed.flags, firmware: definition.firmware },
            memory_mib: definition.memory_mib,
            cpus: definition.cpus,
            disks_gib: definition.disks().map(|disk| disk.gib).collect(),
            disk_used_mib: self.shared.files.disk_used_mib(definition),
            boot_mac: definition.nics.first().map(|nic| nic.mac),
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LabError>>) -> Request,
    ) -> Result<T, LabError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.shared.requests.send(request(answer)).await;
        sent.map_err(|_| self.unattended())?;
        answered.await.map_err(|_| self.unattended())?
    }

    fn unattended(&self) -> LabError {
        LabError::Unattended { machine: self.name().clone() }
    }
}
