//! The machine's process from power on to power off.
//!
//! ```text
//! power on ─► try the boot order: disk, network ─► a system runs ─► switched off ─► process ends
//!                ▲   nothing boots: again in 5 s       │  reboot(2), or a reset by us
//!                └─────────────────────────────────────┘
//! ```
//! The boots follow each other on a thread of their own each (its namespaces end with it); the
//! control socket changes what they share.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde_json::json;

use crate::{
    Card, MachineError, Settings, cgroups,
    control::{self, Controls, Events},
    error::command,
    guest::{self, Bootable, End},
    images::Images,
    network, pxe,
    serial::Serial,
};

/// What it can boot from, by QEMU's names.
const DEVICES: [&str; 2] = ["disk0", "nic0"];
/// After nothing booted, as servers do (QEMU's `reboot-timeout`).
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// systemd's signal for the power button in a container: SIGRTMIN+4, as the C library counts it
/// (systemd, "Container Interface"). No safe call sends it, so a program does.
const POWER_BUTTON: &str = "-38";

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    ended: mpsc::SyncSender<()>,
    events: Events,
    /// The lab's namespace, and the cards whose cables end there.
    cables: (String, Vec<Card>),
}

#[derive(Debug)]
struct State {
    /// Devices with their place; the least is first.
    order: Vec<(String, i64)>,
    /// Process 1, held.
    init: Option<(i32, OwnedFd)>,
    wish: Option<Wish>,
}

/// What was asked for and is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Reset,
    Quit,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, wish: Wish) {
        // Its processes end one after the other, process 1 first: without cables none of them tells
        // anybody what it makes of that, as none does of a machine that loses its power.
        let (lab, cards) = &self.cables;
        let _removed_at_its_end = network::remove_ports(lab, cards);
        let mut state = self.state();
        state.wish = Some(wish);
        if let Some((_, init)) = &state.init {
            let _gone_already = pidfd_send_signal(init, Signal::KILL);
        }
        self.changed.notify_all();
    }

    fn order(&self) -> Vec<String> {
        let mut order = self.state().order.clone();
        order.sort_by_key(|(_, index)| *index);
        order.into_iter().map(|(device, _)| device).collect()
    }
}

impl Controls for Shared {
    fn quit(&self) {
        self.events.tell("SHUTDOWN", &json!({ "guest": false, "reason": "host-qmp-quit" }));
        self.wish(Wish::Quit);
        let _ended_already = self.ended.try_send(());
    }

    fn reset(&self) {
        self.wish(Wish::Reset);
    }

    fn press(&self) {
        self.events.tell("POWERDOWN", &json!({}));
        // The number stays process 1's until it is collected, which takes this lock first.
        let state = self.state();
        if let Some((pid, _)) = &state.init {
            let _gone_already = command("kill", &[POWER_BUTTON, &pid.to_string()], "");
        }
    }

    fn devices(&self) -> Vec<String> {
        DEVICES.map(str::to_owned).into()
    }

    fn place(&self, device: &str, index: i64) -> Result<(), String> {
        if !DEVICES.contains(&device) {
            return Err(format!("there is no device {device}"));
        }
        let mut state = self.state();
        state.order.retain(|(other, _)| other != device);
        if index >= 0 {
            state.order.push((device.to_owned(), index));
        }
        Ok(())
    }
}

/// Runs a machine until it is switched off, by its system or from outside. The working directory
/// is that of its sockets.
///
/// # Errors
/// When it cannot be started at all.
pub fn run(settings: &Settings) -> Result<(), MachineError> {
    if !settings.disk.is_file() {
        let text = format!("{} has no disk at {}", settings.name, settings.disk);
        return Err(MachineError::Host(text));
    }
    cgroups::Trees::of_host()?;
    let serial = Arc::new(Serial::open()?);
    let (ended, end) = mpsc::sync_channel(1);
    let order = settings.order.iter().cloned().zip(0..).collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State { order, init: None, wish: None }),
        changed: Condvar::new(),
        ended,
        events: Events::default(),
        cables: (settings.namespace.clone(), settings.cards.clone()),
    });
    let images = Arc::new(Images::new(settings.blobs.clone(), Arc::default()));
    control::start(shared.clone(), shared.events.clone())?;
    let board = Board { settings: settings.clone(), shared, serial, images };
    let boots = thread::Builder::new()
        .name("boots".to_owned())
        .spawn(move || board.boots())
        .map_err(MachineError::io("start the machine's thread"))?;
    // A sender is always there; an error is an end as well.
    let _ended = end.recv();
    // What ran was told to end; process 1 is collected, so that nothing of it is left.
    let _panicked = boots.join();
    network::remove_ports(&settings.namespace, &settings.cards)?;
    cgroups::remove(&settings.scope)
}

struct Board {
    settings: Settings,
    shared: Arc<Shared>,
    serial: Arc<Serial>,
    images: Arc<Images>,
}

impl Board {
    /// One boot after the other, each on a thread of its own.
    fn boots(&self) {
        loop {
            let end = thread::scope(|scope| {
                let boot = thread::Builder::new()
                    .name("boot".to_owned())
                    .spawn_scoped(scope, || self.boot());
                boot.map(|thread| thread.join())
            });
            let end = match end {
                Ok(Ok(end)) => end,
                Ok(Err(_)) | Err(_) => None,
            };
            *self.images.init.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let wish = {
                let mut state = self.shared.state();
                state.init = None;
                state.wish.take_if(|wish| *wish == Wish::Reset).or(state.wish)
            };
            match (wish, end) {
                (Some(Wish::Quit), _) => return,
                (Some(Wish::Reset), _) => self.tell_reset(false, "host-qmp-system-reset"),
                (None, Some(End::Restarted)) => self.tell_reset(true, "guest-reset"),
                (None, Some(End::PoweredOff)) => {
                    let data = json!({ "guest": true, "reason": "guest-shutdown" });
                    self.shared.events.tell("SHUTDOWN", &data);
                    let _ended_already = self.shared.ended.try_send(());
                    return;
                }
                (None, Some(End::Crashed | End::Killed)) => {
                    self.serial.say("machine: process 1 ended; reset it, or switch it off");
                    self.shared.events.tell("GUEST_PANICKED", &json!({ "action": "pause" }));
                    self.wait_for_wish(None);
                }
                (None, None) => {
                    self.serial.say("machine: no bootable device");
                    self.wait_for_wish(Some(RETRY_AFTER));
                }
            }
        }
    }

    fn tell_reset(&self, guest: bool, reason: &str) {
        self.shared.events.tell("RESET", &json!({ "guest": guest, "reason": reason }));
    }

    /// Waits for something to be asked for; it stays asked for.
    fn wait_for_wish(&self, patience: Option<Duration>) {
        let state = self.shared.state();
        let idle = |state: &mut State| state.wish.is_none();
        match patience {
            Some(patience) => drop(self.shared.changed.wait_timeout_while(state, patience, idle)),
            None => drop(self.shared.changed.wait_while(state, idle)),
        }
    }

    fn over(&self) -> bool {
        self.shared.state().wish.is_some()
    }

    /// Tries the devices in their order; nothing when none of them boots.
    fn boot(&self) -> Option<End> {
        if let Err(error) = guest::enter_network(&self.settings) {
            self.serial.say(&format!("machine: {}", error.chain()));
            return None;
        }
        for device in self.shared.order() {
            if self.over() {
                return None;
            }
            let tried = match device.as_str() {
                "disk0" => guest::from_disk(&self.settings).map(Some),
                _ => self.try_network(),
            };
            match tried.and_then(|found| found.map(|found| self.start(&found)).transpose()) {
                Ok(Some(end)) => return Some(end),
                Ok(None) => {}
                Err(error) => self.serial.say(&format!("machine: {device}: {}", error.chain())),
            }
        }
        None
    }

    fn try_network(&self) -> Result<Option<Bootable>, MachineError> {
        let found = pxe::boot(&self.settings, &|text| self.serial.say(text), &|| self.over())?;
        Ok(found.map(Bootable::Network))
    }

    fn start(&self, bootable: &Bootable) -> Result<End, MachineError> {
        let images = match bootable {
            Bootable::Disk(_) => self.images.at_boot(&|text| self.serial.say(text)),
            Bootable::Network(_) => {
                self.images.forget();
                Vec::new()
            }
        };
        let mounts =
            images.iter().map(|(image, device, _)| (image.clone(), device.clone())).collect();
        guest::run(&self.settings, bootable, mounts, &self.serial, &self.images, |pid| {
            let mut state = self.shared.state();
            let id = Pid::from_raw(pid);
            let held = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
            state.init = held.map(|held| (pid, held));
            // Asked for in the meantime.
            if let (Some(_), Some((_, init))) = (state.wish, &state.init) {
                let _gone_already = pidfd_send_signal(init, Signal::KILL);
            }
            drop(state);
            *self.images.init.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        })
    }
}
