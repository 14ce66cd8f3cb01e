//! The manager of each machine: its part of this service.

use serde_json::{Value, json};

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
        service::timestamp,
    },
    collection, enabled, link, resource, systems,
};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Managers", list),
    Route::new("/redfish/v1/Managers/{unit}", show),
    Route::new("/redfish/v1/Managers/{unit}/NetworkProtocol", protocols),
    Route::new("/redfish/v1/Managers/{unit}/EthernetInterfaces", interfaces),
    Route::new("/redfish/v1/Managers/{unit}/EthernetInterfaces/{}", interface),
];

fn list(context: &Context<'_>) -> Answer {
    let members = systems::paths(context, "Managers")?;
    let path = "/redfish/v1/Managers";
    Ok(Reply::Resource(collection("ManagerCollection", path, "Managers", &members)))
}

fn show(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let (id, identity) = (&unit.id, &unit.identity);
    let path = format!("{PREFIX}/Managers/{id}");
    let (major, minor) = identity.firmware;
    let mut manager = resource(
        "Manager",
        &path,
        id,
        "Virtual BMC",
        json!({
            "ManagerType": "BMC",
            "UUID": identity.device_guid.to_string(),
            "ServiceEntryPointUUID": context.service.site.uuid.to_string(),
            "Manufacturer": "undercloud",
            "Model": "undercloud virtual BMC",
            "FirmwareVersion": format!("{major}.{minor:02}"),
            "DateTime": timestamp(),
            "DateTimeLocalOffset": "+00:00",
            "PowerState": "On",
            "Status": enabled(),
            "NetworkProtocol": link(&format!("{path}/NetworkProtocol")),
            "EthernetInterfaces": link(&format!("{path}/EthernetInterfaces")),
            "LogServices": link(&format!("{path}/LogServices")),
            "Links": {
                "ManagerForServers": [link(&format!("{PREFIX}/Systems/{id}"))],
                "ManagerForChassis": [link(&format!("{PREFIX}/Chassis/{id}"))],
            },
            "Actions": { "#Manager.Reset": {
                "target": format!("{path}/Actions/Manager.Reset"),
                "ResetType@Redfish.AllowableValues": ["ForceRestart", "GracefulRestart"],
            }},
        }),
    );
    if !unit.machine.media_slots().is_empty() {
        manager["VirtualMedia"] = link(&format!("{path}/VirtualMedia"));
    }
    Ok(Reply::Resource(manager))
}

fn protocols(context: &Context<'_>) -> Answer {
    let path = format!("{PREFIX}/Managers/{}/NetworkProtocol", context.unit()?.id);
    let mut rest = json!({ "HostName": Value::Null, "FQDN": Value::Null, "Status": enabled() });
    if let Some(listening) = context.service.listening.get() {
        let (port, tls) = (listening.address.port(), listening.tls);
        rest["HTTPS"] = json!({ "ProtocolEnabled": tls, "Port": tls.then_some(port) });
        rest["HTTP"] = json!({ "ProtocolEnabled": !tls, "Port": (!tls).then_some(port) });
    }
    let (schema, name) = ("ManagerNetworkProtocol", "Network protocols");
    Ok(Reply::Resource(resource(schema, &path, "NetworkProtocol", name, rest)))
}

fn interfaces(context: &Context<'_>) -> Answer {
    let path = format!("{PREFIX}/Managers/{}/EthernetInterfaces", context.unit()?.id);
    let count = usize::from(context.service.listening.get().is_some());
    let members = super::numbered(&path, count);
    let name = "Network interfaces";
    Ok(Reply::Resource(collection("EthernetInterfaceCollection", &path, name, &members)))
}

/// Where the service listens; the host's interface itself is not the manager's to describe.
fn interface(context: &Context<'_>) -> Answer {
    let id = context.argument(1);
    let listening = context.service.listening.get().filter(|_| id == "1");
    let address = listening.ok_or_else(|| context.missing())?.address.ip();
    let path = format!("{PREFIX}/Managers/{}/EthernetInterfaces/1", context.unit()?.id);
    let rest = match address {
        std::net::IpAddr::V4(four) => json!({
            "IPv4Addresses": [{ "Address": four.to_string(), "AddressOrigin": "Static" }],
            "Status": enabled(),
        }),
        std::net::IpAddr::V6(six) => json!({
            "IPv6Addresses": [{ "Address": six.to_string(), "AddressOrigin": "Static" }],
            "Status": enabled(),
        }),
    };
    Ok(Reply::Resource(resource("EthernetInterface", &path, id, "Service address", rest)))
}
