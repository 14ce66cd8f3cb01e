//! Secure Boot of a system, as the machine was defined: read-only, since no machine can change it.

use serde_json::json;

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
    },
    resource,
};

pub(super) const ROUTES: &[Route] = &[Route::new("/redfish/v1/Systems/{unit}/SecureBoot", show)];

fn show(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let enabled = unit.machine.inventory().secure_boot.ok_or_else(|| context.missing())?;
    let path = format!("{PREFIX}/Systems/{}/SecureBoot", unit.id);
    Ok(Reply::Resource(resource(
        "SecureBoot",
        &path,
        "SecureBoot",
        "UEFI Secure Boot",
        json!({
            "SecureBootEnable": enabled,
            "SecureBootCurrentBoot": if enabled { "Enabled" } else { "Disabled" },
            "SecureBootMode": if enabled { "UserMode" } else { "SetupMode" },
        }),
    )))
}
