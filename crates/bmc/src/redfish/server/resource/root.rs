//! The service root and the two documents beside it (DSP0266, 8.4 and 8.5).

use serde_json::{Value, json};

use super::{
    super::{
        query,
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
        schema,
    },
    link, resource,
};

pub(super) const ROUTES: &[Route] = &[
    Route::open("/redfish", versions),
    Route::open("/redfish/v1/", root),
    Route::open("/redfish/v1/odata", odata),
    Route::open("/redfish/v1/$metadata", metadata),
];

/// What the root links to.
const SERVICES: [&str; 11] = [
    "Systems",
    "Chassis",
    "Managers",
    "SessionService",
    "AccountService",
    "EventService",
    "UpdateService",
    "Registries",
    "JsonSchemas",
    "TaskService",
    "SessionService/Sessions",
];

fn versions(_: &Context<'_>) -> Answer {
    Ok(Reply::Document(json!({ "v1": "/redfish/v1/" })))
}

fn root(context: &Context<'_>) -> Answer {
    let mut root = resource(
        "ServiceRoot",
        "/redfish/v1/",
        "RootService",
        "Root service",
        json!({
            "RedfishVersion": "1.19.0",
            "UUID": context.service.site.uuid.to_string(),
            "Vendor": "undercloud",
            "Product": "undercloud virtual BMC",
            "ProtocolFeaturesSupported": {
                "OnlyMemberQuery": true,
                "SelectQuery": true,
                "FilterQuery": false,
                "ExcerptQuery": false,
                "TopSkipQuery": true,
                "ExpandQuery": {
                    "ExpandAll": true,
                    "Levels": true,
                    "Links": true,
                    "NoLinks": true,
                    "MaxLevels": query::LEVELS_MAX,
                },
                "DeepOperations": { "DeepPATCH": false, "DeepPOST": false },
            },
            "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") },
        }),
    );
    for name in SERVICES.iter().filter(|name| !name.contains('/')) {
        let property = if *name == "TaskService" { "Tasks" } else { name };
        root[property] = link(&format!("{PREFIX}/{name}"));
    }
    Ok(Reply::Resource(root))
}

fn odata(_: &Context<'_>) -> Answer {
    let mut value: Vec<Value> = SERVICES
        .iter()
        .map(|name| {
            let short = name.rsplit('/').next().unwrap_or(name);
            json!({ "name": short, "kind": "Singleton", "url": format!("{PREFIX}/{name}") })
        })
        .collect();
    value.insert(0, json!({ "name": "Service", "kind": "Singleton", "url": "/redfish/v1/" }));
    Ok(Reply::Document(json!({
        "@odata.context": "/redfish/v1/$metadata",
        "value": value,
    })))
}

fn metadata(_: &Context<'_>) -> Answer {
    Ok(Reply::Xml(schema::metadata()))
}
