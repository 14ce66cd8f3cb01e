//! Where schemas and message registries are published.

use serde_json::json;

use super::{
    super::{
        events, message,
        reply::Reply,
        route::{Answer, Context, Route},
        schema::{PUBLISHED, SCHEMAS, versioned},
    },
    collection, resource,
};

const SCHEMA_FILES: &str = "/redfish/v1/JsonSchemas";
const REGISTRY_FILES: &str = "/redfish/v1/Registries";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SCHEMA_FILES, schemas),
    Route::new("/redfish/v1/JsonSchemas/{}", schema_file),
    Route::new(REGISTRY_FILES, registries),
    Route::new("/redfish/v1/Registries/{}", registry),
];

fn schemas(_: &Context<'_>) -> Answer {
    let members: Vec<String> = SCHEMAS
        .iter()
        .map(|(name, version)| format!("{SCHEMA_FILES}/{}", versioned(name, version)))
        .collect();
    let name = "JSON schemas";
    Ok(Reply::Resource(collection("JsonSchemaFileCollection", SCHEMA_FILES, name, &members)))
}

fn schema_file(context: &Context<'_>) -> Answer {
    let id = context.argument(0);
    let found = SCHEMAS.iter().find(|(name, version)| versioned(name, version) == id);
    let (name, _) = found.ok_or_else(|| context.missing())?;
    let path = format!("{SCHEMA_FILES}/{id}");
    Ok(Reply::Resource(resource(
        "JsonSchemaFile",
        &path,
        id,
        &format!("{name} schema"),
        json!({
            "Schema": format!("#{id}.{name}"),
            "Languages": ["en"],
            "Location": [{ "Language": "en", "PublicationUri": format!("{PUBLISHED}/{id}.json") }],
        }),
    )))
}

/// The registries of the messages that the service sends.
const REGISTRIES: [&str; 2] = [message::BASE, events::REGISTRY];

fn registries(_: &Context<'_>) -> Answer {
    let members: Vec<String> =
        REGISTRIES.iter().map(|registry| format!("{REGISTRY_FILES}/{registry}")).collect();
    let name = "Message registries";
    Ok(Reply::Resource(collection("MessageRegistryFileCollection", REGISTRY_FILES, name, &members)))
}

fn registry(context: &Context<'_>) -> Answer {
    let id = context.argument(0);
    if !REGISTRIES.contains(&id) {
        return Err(context.missing());
    }
    let path = format!("{REGISTRY_FILES}/{id}");
    let file = format!("http://redfish.dmtf.org/registries/{id}.0.json");
    let name = format!("{id} message registry");
    Ok(Reply::Resource(resource(
        "MessageRegistryFile",
        &path,
        id,
        &name,
        json!({
            "Registry": id,
            "Languages": ["en"],
            "Location": [{ "Language": "en", "PublicationUri": file }],
        }),
    )))
}
