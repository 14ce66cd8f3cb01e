//! Power and the boot override of a system.

use serde_json::{Map, Value, json};

use super::{
    Client, ClientError, Document, link_of,
    quirks::{self, Maker},
};
use crate::machine::{BootDevice, PowerAction, PowerState};

/// How long an override holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootEnabled {
    /// Not at all.
    Disabled,
    /// For one boot.
    Once,
    /// Until it is taken away.
    Continuous,
}

/// How the firmware boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMode {
    /// By UEFI.
    Uefi,
    /// The old way.
    Legacy,
}

/// A boot override, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// How long it holds.
    pub enabled: BootEnabled,
    /// From where, in the service's words.
    pub target: String,
    /// How; `None` when the service does not say.
    pub mode: Option<BootMode>,
}

/// The types that do an action, best first; the service says which of them it has.
fn reset_types(action: PowerAction) -> &'static [&'static str] {
    match action {
        PowerAction::On => &["On", "ForceOn"],
        PowerAction::Off => &["ForceOff"],
        PowerAction::Cycle => &["PowerCycle", "FullPowerCycle"],
        PowerAction::Reset => &["ForceRestart"],
        PowerAction::Soft => &["GracefulShutdown", "PushPowerButton"],
        PowerAction::Diag => &["Nmi"],
    }
}

fn target(device: BootDevice) -> Option<&'static str> {
    match device {
        BootDevice::None => Some("None"),
        BootDevice::Pxe => Some("Pxe"),
        BootDevice::Disk => Some("Hdd"),
        BootDevice::Cdrom | BootDevice::RemoteCdrom => Some("Cd"),
        BootDevice::Bios => Some("BiosSetup"),
        BootDevice::Floppy => Some("Usb"),
        BootDevice::Diag => Some("Diags"),
        BootDevice::Safe
        | BootDevice::RemoteFloppy
        | BootDevice::RemoteMedia
        | BootDevice::RemoteDisk => None,
    }
}

impl Client {
    /// Whether the system is on. A system on its way is what it still is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn power_state(&self) -> Result<PowerState, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        match system["PowerState"].as_str() {
            Some("On" | "PoweringOff" | "Paused") => Ok(PowerState::On),
            Some("Off" | "PoweringOn") => Ok(PowerState::Off),
            _ => Err(self.malformed("PowerState")),
        }
    }

    /// Does it, or says what the service has against it. The service may take its time: what
    /// became of it is what [`Client::power_state`] shows.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`super::ErrorKind::Unknown`] when it may have been done.
    pub async fn power(&self, action: PowerAction) -> Result<(), ClientError> {
        let system = self.get(self.system_path()).await?.body;
        let reset = &system["Actions"]["#ComputerSystem.Reset"];
        let none = || ClientError::NotOffered { what: format!("reset that does {action:?}") };
        let path = reset["target"].as_str().ok_or_else(none)?;
        let offered = reset["ResetType@Redfish.AllowableValues"].as_array();
        let has = |name: &&&str| offered.is_none_or(|list| list.iter().any(|item| item == **name));
        let kind = reset_types(action).iter().find(has).ok_or_else(none)?;
        self.post(path, &json!({ "ResetType": kind })).await.map(drop)
    }

    /// The boot override.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn boot(&self) -> Result<Boot, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        self.read_boot(&system["Boot"])
    }

    fn read_boot(&self, boot: &Value) -> Result<Boot, ClientError> {
        let enabled = match boot["BootSourceOverrideEnabled"].as_str() {
            Some("Once") => BootEnabled::Once,
            Some("Continuous") => BootEnabled::Continuous,
            Some("Disabled") => BootEnabled::Disabled,
            None => return Err(ClientError::NotOffered { what: "boot override".into() }),
            Some(_) => return Err(self.malformed("BootSourceOverrideEnabled")),
        };
        let target = boot["BootSourceOverrideTarget"].as_str().unwrap_or("None").to_owned();
        let mode = match boot["BootSourceOverrideMode"].as_str() {
            Some("UEFI") => Some(BootMode::Uefi),
            Some("Legacy") => Some(BootMode::Legacy),
            _ => None,
        };
        Ok(Boot { enabled, target, mode })
    }

    /// Sets the boot override, and reads it back: some services say yes and do nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_boot(
        &self,
        device: BootDevice,
        enabled: BootEnabled,
        mode: Option<BootMode>,
    ) -> Result<(), ClientError> {
        let what = || ClientError::NotOffered { what: format!("boot from {device:?}") };
        let target = target(device).ok_or_else(what)?;
        let system = self.get(self.system_path()).await?;
        let maker = Maker::of(&self.root, &system.body);
        let shown = &system.body["Boot"];
        let offered = &shown["BootSourceOverrideTarget@Redfish.AllowableValues"];
        let target = quirks::target(&maker, target, offered);
        let mode_name = match mode {
            Some(BootMode::Uefi) => Some("UEFI"),
            Some(BootMode::Legacy) => Some("Legacy"),
            // The present one, where there has to be one.
            None if quirks::wants_whole_override(&maker) => {
                shown["BootSourceOverrideMode"].as_str()
            }
            None => None,
        };
        let enabled_name = match enabled {
            BootEnabled::Disabled => "Disabled",
            BootEnabled::Once => "Once",
            BootEnabled::Continuous => "Continuous",
        };
        let mut boot = Map::new();
        boot.insert("BootSourceOverrideEnabled".into(), enabled_name.into());
        if enabled != BootEnabled::Disabled {
            boot.insert("BootSourceOverrideTarget".into(), target.into());
        }
        if let Some(name) = mode_name {
            boot.insert("BootSourceOverrideMode".into(), name.into());
        }
        let now = self.change_boot(system, boot).await?;
        let same_target = enabled == BootEnabled::Disabled || now.target == target;
        let same_mode = mode.is_none() || now.mode.is_none() || now.mode == mode;
        // Some have no "once", and keep it: the next boot is from there all the same.
        let same_time = now.enabled == enabled
            || (enabled, now.enabled) == (BootEnabled::Once, BootEnabled::Continuous);
        if same_time && same_target && same_mode {
            return Ok(());
        }
        let words = |enabled: BootEnabled, target: &str, mode: Option<BootMode>| {
            let mode = mode.map(|mode| format!(" by {mode:?}")).unwrap_or_default();
            format!("boot {enabled:?} from {target}{mode}")
        };
        Err(ClientError::NotKept {
            operation: format!("PATCH {}", self.system_path()),
            asked: words(enabled, target, mode),
            shown: words(now.enabled, &now.target, now.mode),
        })
    }

    /// Changes each property where it is shown, in the settings resource or in the system, and says
    /// what is shown then.
    async fn change_boot(
        &self,
        system: Document,
        change: Map<String, Value>,
    ) -> Result<Boot, ClientError> {
        let settings = match link_of(&system.body["@Redfish.Settings"]["SettingsObject"]) {
            Some(path) => Some((self.get(&path).await?, path)),
            None => None,
        };
        let shown = settings.as_ref().map_or(&Value::Null, |(settings, _)| &settings.body["Boot"]);
        let (there, here) = quirks::split(change, shown);
        let mut now = Value::Null;
        if let Some((settings, path)) = settings.filter(|_| !there.is_empty()) {
            self.change(&path, &json!({ "Boot": there }), settings.etag).await?;
            now = self.get(&path).await?.body["Boot"].take();
        }
        if !here.is_empty() {
            self.change(self.system_path(), &json!({ "Boot": here }), system.etag).await?;
        }
        let mut boot = self.get(self.system_path()).await?.body["Boot"].take();
        for name in there.keys() {
            boot[name] = now[name].take();
        }
        self.read_boot(&boot)
    }

    pub(super) fn malformed(&self, field: &'static str) -> ClientError {
        ClientError::Malformed { operation: format!("GET {}", self.system_path()), field }
    }
}
