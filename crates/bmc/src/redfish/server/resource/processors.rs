//! Processors of a system.

use serde_json::json;

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
    },
    collection, enabled, index, known, numbered, resource,
};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems/{unit}/Processors", list),
    Route::new("/redfish/v1/Systems/{unit}/Processors/{}", show),
];

fn list(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let path = format!("{PREFIX}/Systems/{}/Processors", unit.id);
    let members = numbered(&path, unit.machine.inventory().processors.len());
    Ok(Reply::Resource(collection("ProcessorCollection", &path, "Processors", &members)))
}

/// Machines run on processors of their host's kind.
const ARCHITECTURE: (&str, &str) =
    if cfg!(target_arch = "aarch64") { ("ARM", "ARM-A64") } else { ("x86", "x86-64") };

fn show(context: &Context<'_>) -> Answer {
    let (unit, id) = (context.unit()?, context.argument(1));
    let processors = unit.machine.inventory().processors;
    let processor = index(id).and_then(|at| processors.get(at)).ok_or_else(|| context.missing())?;
    let path = format!("{PREFIX}/Systems/{}/Processors/{id}", unit.id);
    Ok(Reply::Resource(resource(
        "Processor",
        &path,
        id,
        &format!("Processor {id}"),
        json!({
            "ProcessorType": "CPU",
            "Socket": format!("CPU {id}"),
            "Model": known(&processor.model),
            "ProcessorArchitecture": ARCHITECTURE.0,
            "InstructionSet": ARCHITECTURE.1,
            "TotalCores": processor.cores,
            "TotalThreads": processor.threads,
            "Status": enabled(),
        }),
    )))
}
