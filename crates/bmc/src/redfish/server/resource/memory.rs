//! Memory of a system: one module, since a virtual machine has no slots.

use serde_json::json;

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
    },
    collection, enabled, numbered, resource,
};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems/{unit}/Memory", list),
    Route::new("/redfish/v1/Systems/{unit}/Memory/{}", show),
];

fn list(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let path = format!("{PREFIX}/Systems/{}/Memory", unit.id);
    let count = usize::from(unit.machine.inventory().memory_mib > 0);
    let members = numbered(&path, count);
    Ok(Reply::Resource(collection("MemoryCollection", &path, "Memory", &members)))
}

fn show(context: &Context<'_>) -> Answer {
    let (unit, id) = (context.unit()?, context.argument(1));
    let capacity = unit.machine.inventory().memory_mib;
    if id != "1" || capacity == 0 {
        return Err(context.missing());
    }
    let path = format!("{PREFIX}/Systems/{}/Memory/{id}", unit.id);
    Ok(Reply::Resource(resource(
        "Memory",
        &path,
        id,
        "Main memory",
        json!({
            "MemoryType": "DRAM",
            "CapacityMiB": capacity,
            "Status": enabled(),
        }),
    )))
}
