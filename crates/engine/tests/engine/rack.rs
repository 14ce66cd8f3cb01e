//! Fake machines with fake BMCs and fake agents. An agent behaves as the real one: it repeats what
//! was not answered, remembers the outcome of a step by its id, and dies with the power.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{task::JoinHandle, time::sleep};
use undercloud_engine::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};
use undercloud_model::{
    BootDevice, BootMode, Content, Digest, Finding, MacAddr, NodeId, PowerState, Secret, Signature,
    StepId,
    agent::{
        DiskIdentity, Hello, Outcome, PROTOCOL_VERSION, Poll, Progress, Report, Step, StepFailure,
        StepFailureKind, StepResult, WipeReceipt, WriteReceipt,
    },
    inventory::{Cpu, Datapath, Disk, Inventory, Nic, System},
    node::{BootInterface, BootProgress},
};
use undercloud_store::{AgentError, Principal, Seen, Store};

/// Between two tries of an agent whose daemon is away.
const AGAIN: Duration = Duration::from_millis(2);
/// Where BMCs fetch CDs.
pub(crate) const MEDIA: &str = "http://192.168.24.1/media";
const DATA_BYTES: u64 = 1 << 40;
const PASSWORD: &str = "correct horse 16";

/// A clock that tests set.
#[derive(Debug, Clone)]
pub(crate) struct FakeClock(Arc<AtomicI64>);

impl FakeClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// What is wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    WrongPassword,
    Unreachable,
    RefusesBootDevice,
    /// Its next answers are errors of its own.
    Unwell(u32),
    PowerStuck,
    NeverBoots(BootProgress),
    DiesInWrite,
    SwitchedOffInWrite,
    WrongDigest,
    InstalledSilent,
    AnswersNonsense,
}

/// What was done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) power_ons: u32,
    pub(crate) power_offs: u32,
    pub(crate) hellos: u32,
    pub(crate) wipes: u32,
    pub(crate) writes: u32,
}

struct Machine {
    mac: MacAddr,
    power: PowerState,
    next_boot: Option<BootDevice>,
    /// The address of the CD that is in.
    cd: Option<String>,
    boot: BootDevice,
    disk_bytes: u64,
    /// What is on its disks, by their names.
    content: HashMap<String, Content>,
    /// The machine's key on the disk that was written.
    installed_key: Option<String>,
    boots: u32,
    counts: Counts,
    agent: Option<JoinHandle<()>>,
}

struct State {
    machine: Machine,
    fault: Option<Fault>,
    store: Option<Store>,
    /// How often an engine's end has ended the sessions.
    sessions_ended: u32,
}

/// One machine and the daemon that it can reach.
pub(crate) struct Rack {
    state: Mutex<State>,
    clock: FakeClock,
}

impl Rack {
    pub(crate) fn new(mac: MacAddr, clock: FakeClock) -> Arc<Self> {
        let machine = Machine {
            mac,
            power: PowerState::Off,
            next_boot: None,
            cd: None,
            boot: BootDevice::Disk,
            disk_bytes: 20 << 30,
            content: HashMap::new(),
            installed_key: None,
            boots: 0,
            counts: Counts::default(),
            agent: None,
        };
        let state = Mutex::new(State { machine, fault: None, store: None, sessions_ended: 0 });
        Arc::new(Self { state, clock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The daemon is up with this store, or down.
    pub(crate) fn daemon(&self, store: Option<Store>) {
        self.state().store = store;
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(crate) fn set_disk(&self, bytes: u64) {
        self.state().machine.disk_bytes = bytes;
    }

    /// Somebody puts something on a disk.
    pub(crate) fn fill(&self, name: &str, what: Signature) {
        self.state().machine.content.insert(name.to_owned(), holding(what));
    }

    pub(crate) fn sessions_ended(&self) -> u32 {
        self.state().sessions_ended
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().machine.counts
    }

    pub(crate) fn power(&self) -> PowerState {
        self.state().machine.power
    }

    pub(crate) fn cd(&self) -> Option<String> {
        self.state().machine.cd.clone()
    }

    /// Somebody presses the button.
    pub(crate) fn press_button(self: &Arc<Self>, power: PowerState) {
        self.switch(power);
    }

    fn switch(self: &Arc<Self>, power: PowerState) {
        let mut state = self.state();
        let machine = &mut state.machine;
        if machine.power == power {
            return;
        }
        machine.power = power;
        if let Some(agent) = machine.agent.take() {
            agent.abort();
        }
        if power == PowerState::Off {
            return;
        }
        machine.boots += 1;
        let boot_id = format!("boot-{}", machine.boots);
        let device = machine.next_boot.take().unwrap_or(machine.boot);
        let rack = self.clone();
        // Firmware passes over an empty drive.
        machine.agent = Some(match (device, machine.cd.clone()) {
            (BootDevice::Pxe, _) => tokio::spawn(rack.ramdisk(boot_id, None)),
            (BootDevice::Cdrom, Some(cd)) => tokio::spawn(rack.ramdisk(boot_id, Some(cd))),
            (BootDevice::Disk | BootDevice::Cdrom | BootDevice::Usb, _) => {
                tokio::spawn(rack.installed(boot_id))
            }
        });
    }

    async fn store(&self) -> Store {
        loop {
            if let Some(store) = self.state().store.clone() {
                return store;
            }
            sleep(AGAIN).await;
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.state().fault == Some(fault)
    }

    /// Firmware, then the agent.
    async fn ramdisk(self: Arc<Self>, boot_id: String, cd: Option<String>) {
        let (mac, fault) = {
            let state = self.state();
            (state.machine.mac, state.fault)
        };
        if let Some(Fault::NeverBoots(progress)) = fault {
            if progress > BootProgress::Silent {
                self.tell_progress(mac, progress).await;
            }
            return std::future::pending().await;
        }
        let (node, secret) = self.fetch_identity(mac, cd.as_deref()).await;
        let Some(key) = self.hello(node, secret, &boot_id).await else { return };
        let mut known = HashMap::new();
        loop {
            let store = self.store().await;
            let Ok(found) = store.authenticate(&key).await else {
                sleep(AGAIN).await;
                continue;
            };
            let Some(principal) = found else { return };
            let poll = Poll {
                protocol: PROTOCOL_VERSION,
                boot_id: boot_id.clone(),
                busy: Vec::new(),
                ssh_host_key: None,
                health: None,
            };
            let now = self.clock.now();
            let Ok(reply) =
                store.agent_poll(&principal, &poll, Duration::from_millis(50), now).await
            else {
                sleep(AGAIN).await;
                continue;
            };
            let Some(order) = reply.order else { continue };
            let outcome = match known.get(&order.id) {
                Some(outcome) => Clone::clone(outcome),
                None => self.work(order.id, order.step, &store, &principal).await,
            };
            known.insert(order.id, outcome.clone());
            let report = Report { id: order.id, outcome, log: Vec::new() };
            if store.agent_report(&principal, &report, self.clock.now()).await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }

    async fn tell_progress(&self, mac: MacAddr, progress: BootProgress) {
        let said = format!("{progress:?}");
        let seen = Seen { said: &said, is_warning: false };
        let store = self.store().await;
        store.netboot_event(Some(mac), Some(progress), seen, self.clock.now()).await.unwrap();
    }

    /// From the servers of network boot, or from the CD, which is of this boot or of none.
    async fn fetch_identity(&self, mac: MacAddr, cd: Option<&str>) -> (NodeId, Secret) {
        loop {
            let store = self.store().await;
            if let Ok(Some(plan)) = store.boot_target(mac, self.clock.now()).await {
                // Firmware may fetch it twice, and gets the same.
                if let Ok(Some(again)) = store.boot_target(mac, self.clock.now()).await {
                    assert_eq!(plan.secret, again.secret);
                    assert_eq!(plan.token, again.token);
                }
                assert_eq!(cd.is_some(), plan.boot_interface == BootInterface::RedfishVirtualMedia);
                assert!(cd.is_none_or(|cd| cd == plan.media_url(MEDIA)), "another boot's CD");
                return (plan.node, plan.secret);
            }
            sleep(AGAIN).await;
        }
    }

    async fn hello(&self, node: NodeId, secret: Secret, boot_id: &str) -> Option<Secret> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            node,
            secret,
            boot_id: boot_id.to_owned(),
            agent_version: "0".into(),
        };
        self.state().machine.counts.hellos += 1;
        loop {
            let store = self.store().await;
            match store.agent_hello(&hello, self.clock.now()).await {
                Ok(welcome) => return Some(welcome.session_key),
                Err(AgentError::Denied(_)) => return None,
                Err(AgentError::Store(_)) => sleep(AGAIN).await,
            }
        }
    }

    async fn work(
        self: &Arc<Self>,
        id: StepId,
        step: Step,
        store: &Store,
        principal: &Principal,
    ) -> Outcome {
        if self.has(Fault::AnswersNonsense) {
            return Outcome::Done(StepResult::WipeDisks { disks: Vec::new() });
        }
        match step {
            Step::Inspect => Outcome::Done(StepResult::Inspect(self.inventory())),
            Step::WipeDisks { disks } => {
                let mut state = self.state();
                let machine = &mut state.machine;
                machine.counts.wipes += 1;
                machine.installed_key = None;
                let receipt = |disk: DiskIdentity| {
                    machine.content.insert(disk.name.clone(), Content::EMPTY);
                    WipeReceipt { disk, zeroed_bytes: 2 << 20 }
                };
                let disks = disks.into_iter().map(receipt).collect();
                Outcome::Done(StepResult::WipeDisks { disks })
            }
            Step::WriteImage { image, disk, config_drive } => {
                assert!(store.may_fetch(principal, &image.blob).await.unwrap_or(true));
                let progress = Progress { id, done_bytes: 1, total_bytes: image.disk_bytes };
                let _ = store.agent_progress(principal, &progress, self.clock.now()).await;
                self.write(&disk, image.disk_digest, image.disk_bytes, &config_drive).await
            }
            Step::Cloud { .. } => unreachable!("the engine orders nothing of the cloud"),
        }
    }

    async fn write(
        self: &Arc<Self>,
        disk: &DiskIdentity,
        digest: Digest,
        bytes: u64,
        config_drive: &Secret,
    ) -> Outcome {
        self.state().machine.counts.writes += 1;
        let fault = self.state().fault;
        match fault {
            Some(Fault::DiesInWrite) => return std::future::pending().await,
            Some(Fault::SwitchedOffInWrite) => {
                self.press_button(PowerState::Off);
                return std::future::pending().await;
            }
            Some(Fault::WrongDigest) => {
                let message = "the image has digest sha256:bad, expected sha256:good";
                let kind = StepFailureKind::DigestMismatch;
                return Outcome::Failed(StepFailure::new(kind, message));
            }
            _ => {}
        }
        let drive = BASE64.decode(config_drive.expose()).unwrap();
        {
            let machine = &mut self.state().machine;
            machine.installed_key = Some(key_on(&drive));
            machine.content.insert(disk.name.clone(), holding(Signature::Gpt));
        }
        Outcome::Done(StepResult::WriteImage(WriteReceipt {
            disk: disk.clone(),
            disk_digest: digest,
            written_bytes: bytes,
            took_ms: 1,
        }))
    }

    /// The system on the disk, if one was written.
    async fn installed(self: Arc<Self>, boot_id: String) {
        let key = self.state().machine.installed_key.clone();
        let Some(key) = key.filter(|_| !self.has(Fault::InstalledSilent)) else {
            return std::future::pending().await;
        };
        let key = Secret::new(key);
        loop {
            let store = self.store().await;
            let poll = Poll {
                protocol: PROTOCOL_VERSION,
                boot_id: boot_id.clone(),
                busy: Vec::new(),
                ssh_host_key: None,
                health: None,
            };
            if let Ok(Some(principal)) = store.authenticate(&key).await {
                let now = self.clock.now();
                let hold = Duration::from_millis(50);
                let _ = store.agent_poll(&principal, &poll, hold, now).await;
            }
            sleep(AGAIN).await;
        }
    }

    /// One for the system, and a larger one once somebody put data on it.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let state = self.state();
        let disk = |name: &str, serial: &str, size_bytes: u64| Disk {
            name: name.into(),
            size_bytes,
            serial: Some(serial.into()),
            content: state.machine.content.get(name).cloned().unwrap_or(Content::EMPTY),
            ..Disk::default()
        };
        let mut disks = vec![disk("vda", "disk-0", state.machine.disk_bytes)];
        if state.machine.content.contains_key("vdb") {
            disks.push(disk("vdb", "data", DATA_BYTES));
        }
        disks
    }

    fn inventory(&self) -> Inventory {
        Inventory {
            cpu: Cpu {
                count: 2,
                architecture: "x86_64".into(),
                model: "EPYC".into(),
                virtualisation: true,
            },
            memory_bytes: 4 << 30,
            disks: self.disks(),
            nics: vec![Nic {
                name: "eth0".into(),
                mac: self.state().machine.mac,
                link: true,
                speed_mbps: None,
            }],
            system: System {
                vendor: "fake".into(),
                product: String::new(),
                serial: String::new(),
                firmware_version: String::new(),
                boot_mode: BootMode::Bios,
            },
            datapath: Datapath::Kernel,
        }
    }
}

pub(crate) fn holding(what: Signature) -> Content {
    Content::Found { parts: vec![Finding { partition: None, at: 0, what, label: None, id: None }] }
}

/// The machine's key in the config drive's agent file, which lies there in one piece.
fn key_on(drive: &[u8]) -> String {
    let mark = b"\"key\":\"";
    let at = drive.windows(mark.len()).position(|w| w == mark).expect("a key on the drive");
    let key = &drive[at + mark.len()..][..64];
    String::from_utf8(key.to_vec()).unwrap()
}

/// Logs in to the rack's one BMC.
pub(crate) struct FakeBmcs(pub(crate) Arc<Rack>);

struct FakeBmc(Arc<Rack>);

#[async_trait]
impl BmcFactory for FakeBmcs {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        let fault = self.0.state().fault;
        if fault == Some(Fault::Unreachable) {
            return Err(BmcFault::Silent("no answer to 4 requests".into()));
        }
        let right = target.password == Secret::new(PASSWORD);
        if fault == Some(Fault::WrongPassword) || !right {
            return Err(BmcFault::Login("RAKP: integrity check value is invalid".into()));
        }
        Ok(Box::new(FakeBmc(self.0.clone())))
    }

    async fn close(&self) {
        self.0.state().sessions_ended += 1;
    }
}

#[async_trait]
impl Bmc for FakeBmc {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        let fault = self.0.state().fault;
        if let Some(Fault::Unwell(answers)) = fault {
            self.0.set_fault(answers.checked_sub(1).map(Fault::Unwell));
            return Err(BmcFault::Broken("status 500: InternalError".into()));
        }
        Ok(self.0.power())
    }

    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault> {
        let wanted = match order {
            PowerOrder::On => PowerState::On,
            PowerOrder::Off | PowerOrder::SoftOff => PowerState::Off,
        };
        {
            let mut state = self.0.state();
            let counts = &mut state.machine.counts;
            match wanted {
                PowerState::On => counts.power_ons += 1,
                PowerState::Off => counts.power_offs += 1,
            }
        }
        if !self.0.has(Fault::PowerStuck) {
            self.0.switch(wanted);
        }
        Ok(())
    }

    async fn set_boot_device(
        &mut self,
        device: BootDevice,
        _mode: BootMode,
        persistent: bool,
    ) -> Result<(), BmcFault> {
        if self.0.has(Fault::RefusesBootDevice) {
            return Err(BmcFault::Denied("insufficient privilege level (0xd4)".into()));
        }
        let mut state = self.0.state();
        if persistent {
            state.machine.boot = device;
            state.machine.next_boot = None;
        } else {
            state.machine.next_boot = Some(device);
        }
        Ok(())
    }

    async fn insert_media(&mut self, url: &str) -> Result<(), BmcFault> {
        let mut state = self.0.state();
        let machine = &mut state.machine;
        assert_eq!(machine.power, PowerState::Off, "what runs could read the secret");
        machine.cd = Some(url.to_owned());
        Ok(())
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        self.0.state().machine.cd = None;
        Ok(())
    }

    async fn close(&mut self) {}
}

pub(crate) fn password() -> Secret {
    Secret::new(PASSWORD)
}
