//! The update service: which firmware a machine has. Nothing can be written: a virtual machine's
//! firmware belongs to its host.

use serde_json::json;

use super::{
    super::{
        message::{self, Refusal},
        reply::Reply,
        route::{Answer, Context, Handler, Needs, Route},
        site::Unit,
    },
    collection, enabled, link, resource,
};

const SERVICE: &str = "/redfish/v1/UpdateService";
const SIMPLE_UPDATE: &str = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
const FIRMWARE: &str = "/redfish/v1/UpdateService/FirmwareInventory";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, service),
    Route::action(SIMPLE_UPDATE, Needs::Site, Handler::Now(simple_update)),
    Route::new(FIRMWARE, list),
    Route::new("/redfish/v1/UpdateService/FirmwareInventory/{}", item),
];

fn service(_: &Context<'_>) -> Answer {
    Ok(Reply::Resource(resource(
        "UpdateService",
        SERVICE,
        "UpdateService",
        "Firmware",
        json!({
            "ServiceEnabled": false,
            "FirmwareInventory": link(FIRMWARE),
        "Actions": { "#UpdateService.SimpleUpdate": {
            "target": SIMPLE_UPDATE,
            "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"],
        }},
            "Status": enabled(),
        }),
    )))
}

/// The profiles of OpenStack want this action wherever there is an update service; it says what
/// is true: that nothing can be written.
fn simple_update(_: &Context<'_>) -> Answer {
    Err(Refusal::bad(message::ACTION_UNSUPPORTED, &["UpdateService.SimpleUpdate"]))
}

fn list(context: &Context<'_>) -> Answer {
    let units = context.who()?.units(&context.service.site);
    let members: Vec<String> =
        units.iter().map(|unit| format!("{FIRMWARE}/{}.BMC", unit.id)).collect();
    let (schema, name) = ("SoftwareInventoryCollection", "Firmware");
    Ok(Reply::Resource(collection(schema, FIRMWARE, name, &members)))
}

fn item(context: &Context<'_>) -> Answer {
    let id = context.argument(0);
    let unit = id.strip_suffix(".BMC").and_then(|unit| context.service.site.unit(unit));
    let unit = unit.ok_or_else(|| context.missing())?;
    visible(context, &unit)?;
    let (major, minor) = unit.identity.firmware;
    let path = format!("{FIRMWARE}/{id}");
    Ok(Reply::Resource(resource(
        "SoftwareInventory",
        &path,
        id,
        "Virtual BMC",
        json!({
            "Version": format!("{major}.{minor:02}"),
            "Updateable": false,
            "Manufacturer": "undercloud",
            "RelatedItem": [link(&format!("/redfish/v1/Managers/{}", unit.id))],
            "Status": enabled(),
        }),
    )))
}

fn visible(context: &Context<'_>, unit: &Unit) -> Result<(), Refusal> {
    context.who()?.role_at(unit).map(drop).ok_or_else(|| context.missing())
}
