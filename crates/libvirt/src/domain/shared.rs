//! What is known of a domain, and what is done to it.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use undercloud_bmc::machine::{BootFlags, Inventory, MachineError, PowerAction, PowerState};
use uuid::Uuid;

use super::{flags, intent::Intent};
use crate::{
    Found, LibvirtError,
    connection::{Heard, Link},
    virsh::Virsh,
    xml::{
        XmlError, boot,
        boot::Asked,
        inventory, media,
        media::{Drive, Inserted},
    },
};

/// For the event that says what an action came to; it is there in milliseconds.
const EVENT_MAX: Duration = Duration::from_secs(5);
/// For the event of somebody who was faster; the client waits for the refusal otherwise.
const OTHERS_EVENT_MAX: Duration = Duration::from_millis(200);

/// A domain, as events tell of it.
#[derive(Debug)]
pub(crate) struct Shared {
    found: Found,
    heard: Arc<Heard>,
    link: watch::Receiver<Link>,
    power: watch::Sender<PowerState>,
    /// The definitions have been read.
    read: watch::Sender<bool>,
    facts: Mutex<Facts>,
    errands: Mutex<Errands>,
    pub(super) wake: Notify,
    /// That it is being restarted.
    intent: Intent,
    /// Held by whoever changes the domain.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Whether libvirt has it; `None` until there was a list.
    there: Option<bool>,
    inventory: Inventory,
    /// In force for the next start.
    asked: Option<Asked>,
    /// The id of what was in force when it was started.
    live: Option<String>,
    /// Its CD drive, if it has one.
    drive: Option<Drive>,
}

/// What the caretaker is to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errands {
    pub(super) read: bool,
    pub(super) rebooted: bool,
}

impl Shared {
    pub(super) fn new(
        found: Found,
        heard: Arc<Heard>,
        link: watch::Receiver<Link>,
        folder: &Path,
    ) -> Self {
        Self {
            intent: Intent::new(folder, found.uuid),
            found,
            heard,
            link,
            power: watch::Sender::new(PowerState::Off),
            read: watch::Sender::new(false),
            facts: Mutex::default(),
            errands: Mutex::default(),
            wake: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.found.uuid
    }

    pub(super) fn name(&self) -> &str {
        &self.found.name
    }

    pub(super) fn virsh(&self) -> &Virsh {
        &self.heard.virsh
    }

    pub(super) fn power(&self) -> PowerState {
        *self.power.borrow()
    }

    pub(super) fn power_changes(&self) -> watch::Receiver<PowerState> {
        self.power.subscribe()
    }

    pub(super) fn inventory(&self) -> Inventory {
        self.facts().inventory.clone()
    }

    /// Waits until the definitions have been read.
    pub(super) async fn was_read(&self) {
        let mut read = self.read.subscribe();
        // We hold the sender: it is not dropped.
        let _read = read.wait_for(|read| *read).await;
    }

    /// Whether it has a CD drive.
    pub(super) fn has_drive(&self) -> bool {
        self.facts().drive.is_some()
    }

    /// Our image in its CD drive.
    pub(super) fn media(&self) -> Option<Inserted> {
        self.facts().drive.as_ref()?.inserted.clone()
    }

    /// What is in its CD drive from now on.
    pub(super) fn know_media(&self, inserted: Option<Inserted>) {
        if let Some(drive) = &mut self.facts().drive {
            drive.inserted = inserted;
        }
    }

    /// `None` until the definition was read.
    pub(super) fn boot_flags(&self) -> Option<BootFlags> {
        let facts = self.facts();
        self.read.borrow().then(|| flags(facts.asked.as_ref()))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Nothing that holds the lock can stop half-way: a poisoned value is still whole.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is known is what is.
    pub(super) fn known(&self) -> Result<(), MachineError> {
        if *self.link.borrow() != Link::Up {
            return Err(MachineError::Busy);
        }
        match self.facts().there {
            None => Err(MachineError::Busy),
            Some(true) => Ok(()),
            Some(false) => {
                let name = &self.found.name;
                Err(MachineError::Failed(format!("libvirt has no domain `{name}` any more")))
            }
        }
    }

    pub(super) fn link_trouble(&self) -> String {
        match &*self.link.borrow() {
            Link::Up => "the domain is being read".to_owned(),
            Link::Down(why) => why.clone(),
        }
    }

    // ── what events say; called in their order ──────────────────────────────────────────────────

    pub(crate) fn on_listed(&self, there: bool, power: PowerState) {
        self.facts().there = Some(there);
        self.observe(power);
        self.errand(|errands| errands.read = true);
    }

    pub(crate) fn on_started(&self, booted: bool) {
        {
            let mut facts = self.facts();
            if booted {
                facts.live = facts.asked.as_ref().map(|asked| asked.id.clone());
                facts.asked.take_if(|asked| !asked.persistent);
            }
        }
        self.observe(PowerState::On);
        self.errand(|errands| errands.read = true);
    }

    pub(crate) fn on_stopped(&self) {
        self.facts().live = None;
        self.observe(PowerState::Off);
    }

    pub(crate) fn on_rebooted(&self) {
        self.errand(|errands| errands.rebooted = true);
    }

    pub(crate) fn on_redefined(&self) {
        self.errand(|errands| errands.read = true);
    }

    fn observe(&self, power: PowerState) {
        self.power.send_if_modified(|known| std::mem::replace(known, power) != power);
    }

    fn errand(&self, add: impl FnOnce(&mut Errands)) {
        add(&mut self.errands.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    pub(super) fn take_errands(&self) -> Errands {
        std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // ── what is done ────────────────────────────────────────────────────────────────────────────

    /// Acts on the power; `false` when its present state does not allow it.
    pub(super) async fn act(&self, action: PowerAction) -> Result<bool, LibvirtError> {
        let _turn = self.turn.lock().await;
        if matches!(action, PowerAction::On | PowerAction::Off | PowerAction::Soft) {
            // Whatever was being done before: this is wanted now.
            self.intent.remove()?;
        }
        match (action, self.power()) {
            (PowerAction::On, PowerState::On)
            | (PowerAction::Off | PowerAction::Soft, PowerState::Off) => {}
            (PowerAction::Cycle | PowerAction::Reset | PowerAction::Diag, PowerState::Off) => {
                return Ok(false);
            }
            (PowerAction::On, PowerState::Off) => self.start().await?,
            (PowerAction::Off, PowerState::On) => self.destroy().await?,
            (PowerAction::Cycle, PowerState::On) => self.restart().await?,
            (PowerAction::Reset, PowerState::On) if self.is_stale() => self.restart().await?,
            (PowerAction::Reset, PowerState::On) => {
                self.virsh().domain("reset", self.uuid(), &[]).await?;
            }
            (PowerAction::Soft, PowerState::On) => {
                self.virsh().domain("shutdown", self.uuid(), &["--mode", "acpi"]).await?;
            }
            (PowerAction::Diag, PowerState::On) => {
                self.virsh().domain("inject-nmi", self.uuid(), &[]).await?;
            }
        }
        Ok(true)
    }

    /// Whether what runs was started with another order than the definition has now.
    fn is_stale(&self) -> bool {
        let facts = self.facts();
        facts.live.as_deref() != facts.asked.as_ref().map(|asked| asked.id.as_str())
    }

    async fn restart(&self) -> Result<(), LibvirtError> {
        self.intent.put()?;
        let mut done = self.destroy().await;
        if done.is_ok() {
            done = self.start().await;
        }
        // Whoever asked is told how it ended.
        self.intent.remove().and(done)
    }

    /// Finishes a restart that an earlier process began. What fails is tried again when there is news
    /// of the domain, and is in the way of nothing else.
    async fn finish_restart(&self) {
        if self.known().is_err() || !self.intent.is_there() {
            return;
        }
        let started = match self.power() {
            PowerState::Off => self.start().await,
            PowerState::On => Ok(()),
        };
        match started.and_then(|()| self.intent.remove()) {
            Ok(()) => tracing::info!(domain = self.name(), "a power cycle was cut short: it is on"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(domain = self.name(), error, "a power cycle was cut short");
            }
        }
    }

    async fn start(&self) -> Result<(), LibvirtError> {
        self.switch("start", PowerState::On).await
    }

    async fn destroy(&self) -> Result<(), LibvirtError> {
        self.switch("destroy", PowerState::Off).await
    }

    /// Done when an event says so: whoever asks next hears of it. Somebody else may have been
    /// faster; then it was refused, and is as wanted.
    async fn switch(&self, command: &'static str, wanted: PowerState) -> Result<(), LibvirtError> {
        let done = self.virsh().domain(command, self.uuid(), &[]).await;
        let mut power = self.power.subscribe();
        let seen = power.wait_for(|power| *power == wanted);
        let at_most = if done.is_ok() { EVENT_MAX } else { OTHERS_EVENT_MAX };
        match (done, tokio::time::timeout(at_most, seen).await) {
            (Ok(_) | Err(LibvirtError::Refused { .. }), Ok(Ok(_))) => Ok(()),
            (Err(error), _) => Err(error),
            (Ok(_), _) => {
                tracing::warn!(domain = self.name(), command, "libvirt did it and said nothing");
                self.heard.list.notify_one();
                Ok(())
            }
        }
    }

    /// Changes the definition so that `asked` is in force.
    pub(super) async fn set_boot(&self, asked: Option<Asked>) -> Result<(), LibvirtError> {
        let _turn = self.turn.lock().await;
        self.edit_boot(asked).await
    }

    async fn edit_boot(&self, asked: Option<Asked>) -> Result<(), LibvirtError> {
        self.edit(|text| boot::set(text, asked.as_ref())).await?;
        self.facts().asked = asked;
        Ok(())
    }

    /// To change the domain, one after the other.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The definition for the next start, with its passwords: what is defined without has none.
    pub(super) async fn definition(&self) -> Result<String, LibvirtError> {
        let options = ["--inactive", "--security-info"];
        self.virsh().domain("dumpxml", self.uuid(), &options).await
    }

    /// Changes the definition for the next start; held by a turn.
    pub(super) async fn edit(
        &self,
        change: impl FnOnce(&str) -> Result<Option<String>, XmlError>,
    ) -> Result<(), LibvirtError> {
        let text = self.definition().await?;
        match change(&text).map_err(LibvirtError::Definition)? {
            Some(changed) => self.virsh().define(&changed).await,
            None => Ok(()),
        }
    }

    /// Reads the definitions, and takes back what the last start has used.
    pub(super) async fn read(&self) -> Result<(), LibvirtError> {
        let _turn = self.turn.lock().await;
        self.finish_restart().await;
        self.read_in_turn().await
    }

    async fn read_in_turn(&self) -> Result<(), LibvirtError> {
        if self.known().is_err() {
            return Ok(());
        }
        // Nobody ever closes it; without it, all that happens is that more is read at once.
        let reader = self.heard.readers.acquire().await;
        let found = self.virsh().definitions(self.uuid()).await?;
        drop(reader);
        let wrong = LibvirtError::Definition;
        let asked = boot::read(&found.inactive).map_err(wrong)?;
        let drive = media::read(&found.inactive).map_err(wrong)?;
        let sizes = inventory::capacities(&found.sizes);
        let inventory = inventory::read(&found.inactive, &sizes).map_err(wrong)?;
        let live = match self.power() {
            PowerState::On => boot::read(&found.live).map_err(wrong)?.map(|asked| asked.id),
            PowerState::Off => None,
        };
        let used = asked
            .as_ref()
            .is_some_and(|asked| !asked.persistent && live.as_ref() == Some(&asked.id));
        {
            let mut facts = self.facts();
            facts.inventory = inventory;
            facts.drive = drive;
            facts.live = live;
            facts.asked = asked.filter(|_| !used);
            self.read.send_replace(true);
        }
        if used {
            self.edit_boot(None).await?;
            tracing::info!(domain = self.name(), "the boot override has been used");
        }
        Ok(())
    }

    /// After a reboot: starts it anew if it would boot as it was told to once, not as it is now.
    pub(super) async fn reboot(&self) -> Result<(), LibvirtError> {
        let _turn = self.turn.lock().await;
        self.read_in_turn().await?;
        if self.power() == PowerState::On && self.is_stale() {
            tracing::info!(domain = self.name(), "started anew, for another boot order");
            self.restart().await?;
        }
        Ok(())
    }
}
