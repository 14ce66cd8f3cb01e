//! The chassis of each machine. It has no thermometer, fan or power supply, and says so: what can
//! be measured of a virtual machine is among its sensors.

use futures_util::future::BoxFuture;
use serde_json::json;

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
        service::unreadable,
    },
    collection, enabled, known, link, resource, systems,
};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Chassis", list),
    Route::asking("/redfish/v1/Chassis/{unit}", show),
    Route::new("/redfish/v1/Chassis/{unit}/Power", power),
    Route::new("/redfish/v1/Chassis/{unit}/Thermal", thermal),
];

fn list(context: &Context<'_>) -> Answer {
    let members = systems::paths(context, "Chassis")?;
    let path = "/redfish/v1/Chassis";
    Ok(Reply::Resource(collection("ChassisCollection", path, "Chassis", &members)))
}

fn show<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?;
        let power = unit.power().await.map_err(|error| unreadable(&error))?;
        let (id, parts) = (&unit.id, unit.machine.inventory());
        let path = format!("{PREFIX}/Chassis/{id}");
        Ok(Reply::Resource(resource(
            "Chassis",
            &path,
            id,
            &unit.identity.name,
            json!({
                // Nothing that one can touch; of the types that there are, this one says least.
                "ChassisType": "Other",
                "UUID": unit.identity.system_guid.to_string(),
                "Manufacturer": known(&parts.manufacturer),
                "Model": known(&parts.model),
                "SerialNumber": known(&parts.serial_number),
                "AssetTag": parts.asset_tag,
                "PowerState": systems::power_state(power),
                "Status": enabled(),
                "Power": link(&format!("{path}/Power")),
                "Thermal": link(&format!("{path}/Thermal")),
                "Sensors": link(&format!("{path}/Sensors")),
                "Links": {
                    "ComputerSystems": [link(&format!("{PREFIX}/Systems/{id}"))],
                    "ManagedBy": [link(&format!("{PREFIX}/Managers/{id}"))],
                },
            }),
        )))
    })
}

fn power(context: &Context<'_>) -> Answer {
    let path = format!("{PREFIX}/Chassis/{}/Power", context.unit()?.id);
    let rest = json!({ "PowerControl": [], "PowerSupplies": [], "Voltages": [] });
    Ok(Reply::Resource(resource("Power", &path, "Power", "Power", rest)))
}

fn thermal(context: &Context<'_>) -> Answer {
    let path = format!("{PREFIX}/Chassis/{}/Thermal", context.unit()?.id);
    let rest = json!({ "Temperatures": [], "Fans": [] });
    Ok(Reply::Resource(resource("Thermal", &path, "Thermal", "Thermal", rest)))
}
