//! Computer systems.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    super::{
        login::Role,
        message::Refusal,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, PREFIX, Route},
        service::unreadable,
        site::Unit,
    },
    boot, collection, known, link, reset, resource,
};
use crate::machine::PowerState;

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems", list),
    Route::asking("/redfish/v1/Systems/{unit}", show)
        .patch(Needs::Role(Role::Operator), Handler::Later(boot::change)),
];

fn list(context: &Context<'_>) -> Answer {
    let members = paths(context, "Systems")?;
    let (path, name) = ("/redfish/v1/Systems", "Computer systems");
    Ok(Reply::Resource(collection("ComputerSystemCollection", path, name, &members)))
}

/// The addresses of the machines that the caller sees, in one of the three collections.
pub(super) fn paths(context: &Context<'_>, kind: &str) -> Result<Vec<String>, Refusal> {
    let units = context.who()?.units(&context.service.site);
    Ok(units.iter().map(|unit| format!("{PREFIX}/{kind}/{}", unit.id)).collect())
}

/// What hangs below a system.
const PARTS: [&str; 5] = ["Processors", "Memory", "EthernetInterfaces", "Storage", "SimpleStorage"];

fn show<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?;
        let power = unit.power().await.map_err(|error| unreadable(&error))?;
        let flags = unit.machine.boot_flags().await.map_err(|error| unreadable(&error))?;
        let mut system = inventory(unit);
        let state = match power {
            PowerState::On => "Enabled",
            PowerState::Off => "StandbyOffline",
        };
        system["Status"] = json!({ "State": state, "Health": "OK", "HealthRollup": "OK" });
        system["PowerState"] = power_state(power).into();
        system["Boot"] = boot::show(unit, flags);
        Ok(Reply::Resource(system))
    })
}

/// As Redfish writes it.
pub(super) fn power_state(power: PowerState) -> &'static str {
    match power {
        PowerState::On => "On",
        PowerState::Off => "Off",
    }
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 mebibytes")]
fn gibibytes(mebibytes: u64) -> f64 {
    mebibytes as f64 / 1024.0
}

/// Everything about a system that does not change.
fn inventory(unit: &Unit) -> Value {
    let (id, parts) = (&unit.id, unit.machine.inventory());
    let path = format!("{PREFIX}/Systems/{id}");
    let threads: u32 = parts.processors.iter().map(|processor| processor.threads).sum();
    let cores: u32 = parts.processors.iter().map(|processor| processor.cores).sum();
    let mut system = resource(
        "ComputerSystem",
        &path,
        id,
        &unit.identity.name,
        json!({
            "SystemType": "Virtual",
            "UUID": unit.identity.system_guid.to_string(),
            "Manufacturer": known(&parts.manufacturer),
            "Model": known(&parts.model),
            "SerialNumber": known(&parts.serial_number),
            "AssetTag": parts.asset_tag,
            "BiosVersion": known(&parts.firmware_version),
            "ProcessorSummary": {
                "Count": parts.processors.len(),
                "CoreCount": cores,
                "LogicalProcessorCount": threads,
                "Model": parts.processors.first().map(|processor| processor.model.clone()),
            },
            "MemorySummary": { "TotalSystemMemoryGiB": gibibytes(parts.memory_mib) },
            "Links": {
                "Chassis": [link(&format!("{PREFIX}/Chassis/{id}"))],
                "ManagedBy": [link(&format!("{PREFIX}/Managers/{id}"))],
            },
            "Actions": { "#ComputerSystem.Reset": {
                "target": format!("{path}/Actions/ComputerSystem.Reset"),
                "ResetType@Redfish.AllowableValues": reset::names(),
            }},
        }),
    );
    for part in PARTS {
        system[part] = link(&format!("{path}/{part}"));
    }
    if !unit.machine.media_slots().is_empty() {
        system["VirtualMedia"] = link(&format!("{path}/VirtualMedia"));
    }
    if parts.secure_boot.is_some() {
        system["SecureBoot"] = link(&format!("{path}/SecureBoot"));
    }
    system
}
