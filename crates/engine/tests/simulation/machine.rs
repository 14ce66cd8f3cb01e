//! A machine: its power, its disks with what is on them, and what was done to it. What the machine
//! knows is the truth that the daemon's record is held against.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinHandle;
use undercloud_model::{
    BootDevice, BootMode, Content, Finding, MacAddr, PowerState, Signature, StepId,
    agent::DiskIdentity,
    inventory::{Cpu, Datapath, Disk, Inventory, Nic, System},
};

use crate::{agent, random::Random, world::World};

/// How a BMC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BmcIs {
    Well,
    /// It answers late, and the machine follows late.
    Slow,
    /// It answers with errors of its own, now and then.
    Unwell,
    /// It takes the connection and says nothing.
    Dead,
    /// It is silent for minutes at a time.
    Flapping,
    /// It says that the machine is on, which never starts.
    Lying,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentIs {
    Well,
    /// It says hello late and takes its time.
    Late,
    /// It sends every report several times.
    Repeating,
    /// It reports for steps that nobody gave it, too.
    Confused,
    /// It never says hello.
    Silent,
    /// It falls silent in the middle of its work, now and then.
    Dying,
}

impl BmcIs {
    /// Whether a machine with such a one gets where it is to go.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Well | Self::Slow | Self::Unwell)
    }
}

impl AgentIs {
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Well | Self::Late | Self::Repeating | Self::Confused)
    }
}

/// What changes of a machine.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) is_on: bool,
    /// What a BMC that takes its time is about to do.
    pub(crate) follows: u64,
    pub(crate) next_boot: Option<BootDevice>,
    pub(crate) boot: Option<BootDevice>,
    boots: u64,
    agent: Option<JoinHandle<()>>,
    content: HashMap<String, Content>,
    /// The machine's key on the disk that was written.
    pub(crate) installed_key: Option<String>,
    /// What a person agreed to: the disk, with what was on it.
    agreed: HashMap<String, Content>,
    /// Disks whose content is ours.
    ours: HashSet<String>,
    /// How often the power really changed by an order of a visit.
    pub(crate) changes: HashMap<(i64, PowerState), u32>,
    /// Those whose visit could not be read: the database had just died.
    pub(crate) changes_unread: Vec<PowerState>,
    /// Steps that erased, by the request that was under way.
    erased_by: HashMap<(u64, &'static str), StepId>,
    /// Steps that erased, each of one disk.
    erased: HashSet<StepId>,
    /// Which request is under way.
    pub(crate) request: u64,
}

impl State {
    /// The power really changed, by an order of this visit.
    pub(crate) fn changed(&mut self, visit: i64, to: PowerState) {
        let count = self.changes.entry((visit, to)).or_default();
        *count += 1;
        assert_eq!(*count, 1, "it was switched {to:?} twice in one visit");
    }
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) port: u16,
    pub(crate) mac: MacAddr,
    bmc: BmcIs,
    is_mended: AtomicBool,
    pub(crate) agent: AgentIs,
    /// Whether the undercloud made it, so that nobody is asked.
    pub(crate) is_own: bool,
    pub(crate) random: Random,
    sessions: AtomicUsize,
    state: Mutex<State>,
}

pub(crate) fn mac(port: u16) -> MacAddr {
    let [high, low] = port.to_be_bytes();
    format!("52:54:00:00:{high:02x}:{low:02x}").parse().unwrap()
}

impl Machine {
    pub(crate) fn new(port: u16, bmc: BmcIs, agent: AgentIs, is_own: bool, random: Random) -> Self {
        let state = State::default();
        let machine = Self {
            port,
            mac: mac(port),
            bmc,
            is_mended: AtomicBool::new(false),
            agent,
            is_own,
            random,
            sessions: AtomicUsize::new(0),
            state: Mutex::new(state),
        };
        machine.fill("vda", machine.random.one_of(&[Signature::Ext, Signature::Ntfs]));
        if machine.random.chance(30) {
            machine.fill("vdb", Signature::Xfs);
        }
        machine
    }

    pub(crate) fn name(&self) -> String {
        format!("m-{}", self.port)
    }

    pub(crate) fn bmc(&self) -> BmcIs {
        if self.is_mended.load(Ordering::Relaxed) { BmcIs::Well } else { self.bmc }
    }

    /// Its BMC is well from now on.
    pub(crate) fn mend(&self) {
        self.is_mended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.bmc.is_live() && self.agent.is_live()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Somebody puts something on a disk.
    fn fill(&self, disk: &str, what: Signature) {
        let part = Finding { partition: None, at: 0, what, label: None, id: None };
        let mut state = self.state();
        state.ours.remove(disk);
        state.content.insert(disk.to_owned(), Content::Found { parts: vec![part] });
    }

    /// A session with its BMC begins: how many there are.
    pub(crate) fn begin_session(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// The power changes, if it is not so; says whether it did.
    pub(crate) fn switch(self: &Arc<Self>, world: &Arc<World>, power: PowerState) -> bool {
        let mut state = self.state();
        let is_on = power == PowerState::On;
        if state.is_on == is_on {
            return false;
        }
        state.is_on = is_on;
        if let Some(agent) = state.agent.take() {
            agent.abort();
        }
        if !is_on {
            return true;
        }
        state.boots += 1;
        let boot_id = format!("{}-{}", self.name(), state.boots);
        let device = state.next_boot.take().or(state.boot).unwrap_or(BootDevice::Disk);
        let (world, machine) = (world.clone(), self.clone());
        state.agent = Some(match device {
            BootDevice::Pxe => tokio::spawn(agent::ramdisk(world, machine, boot_id)),
            BootDevice::Disk | BootDevice::Cdrom | BootDevice::Usb => {
                tokio::spawn(agent::installed(world, machine, boot_id))
            }
        });
        true
    }

    /// Ends whatever runs on it.
    pub(crate) fn unplug(&self) {
        if let Some(agent) = self.state().agent.take() {
            agent.abort();
        }
    }

    /// On metal somebody may have put another system there since it was looked at.
    pub(crate) fn may_have_changed(&self) {
        let is_ours = self.state().ours.contains("vda");
        if !self.is_own && !is_ours && self.random.chance(5) {
            self.fill("vda", self.random.one_of(&[Signature::Lvm, Signature::Zfs]));
        }
    }

    pub(crate) fn disks(&self) -> Vec<Disk> {
        let state = self.state();
        let sizes = [("vda", 20 << 30), ("vdb", 1 << 40)];
        let disk = |(name, size_bytes): (&str, u64)| {
            state.content.get(name).map(|content| Disk {
                name: name.into(),
                size_bytes,
                serial: Some(format!("{}-{name}", self.port)),
                content: content.clone(),
                ..Disk::default()
            })
        };
        sizes.into_iter().filter_map(disk).collect()
    }

    /// A person agreed to these, as they were seen.
    pub(crate) fn agreed_to(&self, disks: &[Disk]) {
        let mut state = self.state();
        let state = &mut *state;
        state.agreed.retain(|name, _| state.ours.contains(name));
        for disk in disks {
            state.agreed.insert(disk.name.clone(), disk.content.clone());
            state.ours.remove(&disk.name);
        }
    }

    /// An order to erase a disk is fetched: was that agreed to, and is it the only one of this
    /// request?
    pub(crate) fn is_to_erase(&self, disk: &DiskIdentity, step: StepId, what: &'static str) {
        let name = self.name();
        let mut state = self.state();
        let content = state.content.get(&disk.name).expect("the disk is there").clone();
        if !self.is_own {
            let agreed = state.agreed.get(&disk.name);
            let may = state.ours.contains(&disk.name) || content.is_empty();
            assert!(
                agreed.is_some_and(|agreed| may || *agreed == content),
                "{name}: {disk} holds {content} and is erased without consent: {agreed:?}"
            );
        }
        let request = state.request;
        let by = *state.erased_by.entry((request, what)).or_insert(step);
        assert_eq!(by, step, "{name}: a second {what} of {disk} in one request");
        state.ours.insert(disk.name.clone());
    }

    pub(crate) fn erase(&self, disk: &DiskIdentity, step: StepId, to: Option<Signature>) {
        let mut state = self.state();
        assert!(state.erased.insert(step), "{}: {disk} is erased again", self.name());
        let parts = to.map(|what| Finding { partition: None, at: 0, what, label: None, id: None });
        let content = Content::Found { parts: parts.into_iter().collect() };
        state.content.insert(disk.name.clone(), content);
        if to.is_none() {
            state.installed_key = None;
        }
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let nic = Nic { name: "eth0".into(), mac: self.mac, link: true, speed_mbps: None };
        Inventory {
            cpu: Cpu {
                count: 2,
                architecture: "x86_64".into(),
                model: "EPYC".into(),
                virtualisation: true,
            },
            memory_bytes: 4 << 30,
            disks: self.disks(),
            nics: vec![nic],
            system: System {
                vendor: "simulated".into(),
                product: String::new(),
                serial: String::new(),
                firmware_version: String::new(),
                boot_mode: BootMode::Bios,
            },
            datapath: Datapath::Kernel,
        }
    }
}
