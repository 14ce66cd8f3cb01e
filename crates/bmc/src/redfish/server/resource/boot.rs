//! The boot override of a system (the `Boot` object of ComputerSystem).
//!
//! The machine keeps one set of flags, the same that IPMI sets. `Once` holds for one boot, because
//! the machine says so: it is read back as `Disabled` when it is used up. A target without
//! `BootSourceOverrideEnabled` means `Once` where nothing was in force, since it would mean
//! nothing otherwise.

use std::sync::PoisonError;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::super::{
    message::{self, Message, Refusal},
    patch::Body,
    reply::Reply,
    route::{Answer, Context},
    service::unreadable,
    site::Unit,
};
use crate::machine::{BootDevice, BootFlags};

/// Targets that can be asked for.
const TARGETS: [(&str, BootDevice); 6] = [
    ("None", BootDevice::None),
    ("Pxe", BootDevice::Pxe),
    ("Hdd", BootDevice::Disk),
    ("Cd", BootDevice::Cdrom),
    ("Usb", BootDevice::Floppy),
    ("BiosSetup", BootDevice::Bios),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enabled {
    Disabled,
    Once,
    Continuous,
}

const ENABLED: [(&str, Enabled); 3] =
    [("Disabled", Enabled::Disabled), ("Once", Enabled::Once), ("Continuous", Enabled::Continuous)];

const MODES: [(&str, bool); 2] = [("UEFI", true), ("Legacy", false)];

/// What Redfish calls a device, also one that only IPMI can set.
fn target(device: BootDevice) -> &'static str {
    match device {
        BootDevice::None => "None",
        BootDevice::Pxe => "Pxe",
        BootDevice::Disk | BootDevice::Safe => "Hdd",
        BootDevice::Diag => "Diags",
        BootDevice::Cdrom | BootDevice::RemoteCdrom => "Cd",
        BootDevice::Bios => "BiosSetup",
        BootDevice::Floppy => "Usb",
        BootDevice::RemoteFloppy => "Floppy",
        BootDevice::RemoteMedia | BootDevice::RemoteDisk => "RemoteDrive",
    }
}

fn in_force(flags: BootFlags) -> Enabled {
    match (flags.valid && flags.device != BootDevice::None, flags.persistent) {
        (false, _) => Enabled::Disabled,
        (true, false) => Enabled::Once,
        (true, true) => Enabled::Continuous,
    }
}

fn mode(unit: &Unit, flags: BootFlags) -> bool {
    if in_force(flags) != Enabled::Disabled {
        return flags.efi;
    }
    let asked = *unit.efi.lock().unwrap_or_else(PoisonError::into_inner);
    asked.unwrap_or_else(|| unit.machine.inventory().uefi)
}

fn names<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).collect()
}

/// The `Boot` object.
pub(super) fn show(unit: &Unit, flags: BootFlags) -> Value {
    let enabled = in_force(flags);
    let device = if enabled == Enabled::Disabled { BootDevice::None } else { flags.device };
    let efi = mode(unit, flags);
    let name = |found: Option<&(&'static str, Enabled)>| found.map(|(name, _)| *name);
    json!({
        "BootSourceOverrideEnabled": name(ENABLED.iter().find(|(_, other)| *other == enabled)),
        "BootSourceOverrideEnabled@Redfish.AllowableValues": names(&ENABLED),
        "BootSourceOverrideTarget": target(device),
        "BootSourceOverrideTarget@Redfish.AllowableValues": names(&TARGETS),
        "BootSourceOverrideMode": if efi { "UEFI" } else { "Legacy" },
        "BootSourceOverrideMode@Redfish.AllowableValues": names(&MODES),
    })
}

/// What a PATCH asks for.
struct Wanted {
    device: Option<BootDevice>,
    enabled: Option<Enabled>,
    efi: Option<bool>,
}

fn parse(context: &Context<'_>, whole: &Value) -> Result<Wanted, Refusal> {
    let mut body = Body::of_resource(context.body);
    let boot = body.object("Boot")?;
    body.finish(whole)?;
    let Some(mut boot) = boot else { return Err(Refusal::bad(message::NO_OPERATION, &[])) };
    let wanted = Wanted {
        device: boot.choice("BootSourceOverrideTarget", &TARGETS)?,
        enabled: boot.choice("BootSourceOverrideEnabled", &ENABLED)?,
        efi: boot.choice("BootSourceOverrideMode", &MODES)?,
    };
    boot.finish(whole.get("Boot").unwrap_or(&Value::Null))?;
    Ok(wanted)
}

/// The flags that `wanted` makes of `flags`.
fn merge(wanted: &Wanted, flags: BootFlags, efi: bool) -> Result<BootFlags, Refusal> {
    let current = in_force(flags);
    let kept = if current == Enabled::Disabled { BootDevice::None } else { flags.device };
    let device = wanted.device.unwrap_or(kept);
    let enabled = match (wanted.enabled, wanted.device) {
        (Some(enabled), _) => enabled,
        (None, Some(BootDevice::None)) => Enabled::Disabled,
        (None, Some(_)) if current == Enabled::Disabled => Enabled::Once,
        (None, _) => current,
    };
    let efi = wanted.efi.unwrap_or(efi);
    match (enabled, device) {
        (Enabled::Disabled, _) => Ok(BootFlags { efi, ..BootFlags::NONE }),
        (Enabled::Once | Enabled::Continuous, BootDevice::None) => {
            let names = ["BootSourceOverrideEnabled", "BootSourceOverrideTarget"];
            let conflict = Message::new(message::PROPERTY_CONFLICT, &names);
            let conflict = conflict.on("/Boot/BootSourceOverrideEnabled");
            Err(Refusal::new(http::StatusCode::BAD_REQUEST, conflict))
        }
        (Enabled::Once, device) => Ok(BootFlags { device, efi, persistent: false, valid: true }),
        (Enabled::Continuous, device) => {
            Ok(BootFlags { device, efi, persistent: true, valid: true })
        }
    }
}

/// PATCH of a system.
pub(super) fn change<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?;
        let flags = unit.machine.boot_flags().await.map_err(|error| unreadable(&error))?;
        let whole = json!({
            "Id": unit.id, "Name": "", "UUID": "", "PowerState": "", "Status": "",
            "SystemType": "", "Manufacturer": "", "Model": "", "SerialNumber": "", "AssetTag": "",
            "BiosVersion": "", "ProcessorSummary": "", "MemorySummary": "", "Links": "",
            "Actions": "", "Boot": show(unit, flags),
        });
        let wanted = parse(context, &whole)?;
        let flags = merge(&wanted, flags, mode(unit, flags))?;
        let set = unit.machine.set_boot_flags(flags).await;
        set.map_err(|error| Refusal::machine(&error, "ComputerSystem.Boot"))?;
        if wanted.efi.is_some() {
            *unit.efi.lock().unwrap_or_else(PoisonError::into_inner) = wanted.efi;
        }
        Ok(Reply::Changed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(device: Option<BootDevice>, enabled: Option<Enabled>) -> Wanted {
        Wanted { device, enabled, efi: None }
    }

    #[test]
    fn parts_of_an_override_make_a_whole() {
        let pxe = BootFlags { device: BootDevice::Pxe, efi: true, persistent: false, valid: true };
        let none = BootFlags::NONE;
        let (once, always) = (Some(Enabled::Once), Some(Enabled::Continuous));
        for (name, wanted, before, after) in [
            ("target", wanted(Some(BootDevice::Pxe), None), none, pxe),
            ("once", wanted(Some(BootDevice::Pxe), once), none, pxe),
            ("always", wanted(None, always), pxe, BootFlags { persistent: true, ..pxe }),
            ("off", wanted(None, Some(Enabled::Disabled)), pxe, BootFlags { efi: true, ..none }),
            ("none", wanted(Some(BootDevice::None), None), pxe, BootFlags { efi: true, ..none }),
        ] {
            assert_eq!(merge(&wanted, before, true), Ok(after), "{name}");
        }
        assert!(merge(&wanted(None, once), none, true).is_err());
        let used = BootFlags { valid: false, ..pxe };
        assert!(merge(&wanted(None, always), used, true).is_err());
    }
}
