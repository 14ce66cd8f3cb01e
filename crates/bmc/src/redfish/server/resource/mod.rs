//! The resources, one kind per file: each has its table of routes, and functions that make JSON
//! of what the machine says.

mod account_service;
mod boot;
mod chassis;
mod documents;
mod ethernet;
mod event_service;
mod log_services;
mod managers;
mod memory;
mod processors;
mod reset;
mod root;
mod secure_boot;
mod sensors;
mod session_service;
mod storage;
mod systems;
pub(super) mod tasks;
mod update_service;
mod virtual_media;

use serde_json::{Value, json};

use super::{route::Route, schema};

/// Every resource of the service.
pub(super) const ROUTES: &[&[Route]] = &[
    root::ROUTES,
    systems::ROUTES,
    chassis::ROUTES,
    managers::ROUTES,
    session_service::ROUTES,
    account_service::ROUTES,
    reset::ROUTES,
    processors::ROUTES,
    memory::ROUTES,
    ethernet::ROUTES,
    storage::ROUTES,
    secure_boot::ROUTES,
    log_services::ROUTES,
    sensors::ROUTES,
    virtual_media::ROUTES,
    event_service::ROUTES,
    tasks::ROUTES,
    update_service::ROUTES,
    documents::ROUTES,
];

/// A link.
fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

/// What every resource begins with; `rest` is an object.
fn resource(schema: &str, path: &str, id: &str, name: &str, rest: Value) -> Value {
    let mut resource = json!({
        "@odata.type": schema::odata_type(schema),
        "@odata.id": path,
        "Id": id,
        "Name": name,
    });
    if let (Value::Object(resource), Value::Object(rest)) = (&mut resource, rest) {
        resource.extend(rest);
    }
    resource
}

/// A collection with its members' addresses.
fn collection(schema: &str, path: &str, name: &str, members: &[String]) -> Value {
    let links: Vec<Value> = members.iter().map(|member| link(member)).collect();
    json!({
        "@odata.type": schema::odata_type(schema),
        "@odata.id": path,
        "Name": name,
        "Members@odata.count": links.len(),
        "Members": links,
    })
}

/// `{path}/1` to `{path}/{count}`.
fn numbered(path: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{path}/{number}")).collect()
}

/// The index that a number of [`numbered`] stands for.
fn index(number: &str) -> Option<usize> {
    let index: usize = number.parse().ok()?;
    let canonical = index.to_string() == number;
    index.checked_sub(1).filter(|_| canonical)
}

fn enabled() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

/// A text that is left out of a resource when it is not known.
fn known(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}
