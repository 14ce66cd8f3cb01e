//! Network interfaces of a system.

use serde_json::json;

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
    },
    collection, enabled, index, numbered, resource,
};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems/{unit}/EthernetInterfaces", list),
    Route::new("/redfish/v1/Systems/{unit}/EthernetInterfaces/{}", show),
];

fn list(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let path = format!("{PREFIX}/Systems/{}/EthernetInterfaces", unit.id);
    let members = numbered(&path, unit.machine.inventory().nics.len());
    let name = "Network interfaces";
    Ok(Reply::Resource(collection("EthernetInterfaceCollection", &path, name, &members)))
}

fn show(context: &Context<'_>) -> Answer {
    let (unit, id) = (context.unit()?, context.argument(1));
    let nics = unit.machine.inventory().nics;
    let nic = index(id).and_then(|at| nics.get(at)).ok_or_else(|| context.missing())?;
    let [a, b, c, d, e, f] = nic.mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let path = format!("{PREFIX}/Systems/{}/EthernetInterfaces/{id}", unit.id);
    Ok(Reply::Resource(resource(
        "EthernetInterface",
        &path,
        id,
        &nic.name,
        json!({
            "MACAddress": mac,
            "PermanentMACAddress": mac,
            "SpeedMbps": nic.speed_mbps,
            "InterfaceEnabled": true,
            "Status": enabled(),
        }),
    )))
}
