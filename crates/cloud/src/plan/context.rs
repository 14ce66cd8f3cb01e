//! What templates see. `services/README.md` is the reference.

use std::collections::BTreeMap;

use minijinja::{Value, value::Serde};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use undercloud_model::{
    NodeName,
    agent::{cloud::ServiceName, link::LinkRef},
    inventory::Datapath,
};
use uuid::Uuid;

use super::{
    Network, PlanError,
    layout::{Layout, Machine},
    tunnel::Tunnels,
};
use crate::{
    CloudConfig, Reference,
    definition::{FileEntry, Service},
    render::{Names, Renderer},
};

/// What is the same for every service of the cloud.
#[derive(Debug)]
pub(super) struct Contexts {
    renderer: Renderer,
    name: String,
    cloud: Value,
    ports: BTreeMap<String, Value>,
    published: Value,
    databases: Value,
    tunnels: Option<Tunnels>,
}

/// What one service's templates see on one machine.
#[derive(Debug)]
pub(super) struct Context<'a> {
    contexts: &'a Contexts,
    service: &'a ServiceName,
    values: BTreeMap<&'static str, Value>,
}

impl Contexts {
    pub(super) fn new(layout: &Layout<'_>) -> Self {
        let config = layout.config;
        let cloud = json!({
            "name": config.name,
            "region": config.region,
            "internal_address": layout.keystone().addresses.internal,
            "public_host": layout.public_host(),
            "public_address": layout.public_address,
            "password_hash_rounds": config.password_hash_rounds,
            "internal_mtu": config.internal.mtu,
            "public_mtu": config.public.mtu,
            "tunnel_mtu": tunnel_mtu(config),
        });
        let services = layout.definitions.services().values();
        let ports = services.flat_map(|service| &service.ports);
        Self {
            renderer: Renderer::new(),
            name: config.name.clone(),
            cloud: Value::from(Serde(cloud)),
            ports: ports.map(|p| (p.name.clone(), Value::from(p.number.get()))).collect(),
            published: Value::from(Serde(published(layout))),
            databases: Value::from(Serde(databases(layout))),
            tunnels: layout.tunnels,
        }
    }

    pub(super) fn of<'a>(
        &'a self,
        layout: &Layout<'_>,
        machine: &Machine<'_>,
        name: &'a ServiceName,
        service: &Service,
    ) -> Context<'a> {
        let secret = |name: &String| {
            (name.clone(), Value::from(Reference::Secret(name.clone()).to_string()))
        };
        let secrets = Names {
            kind: "secret",
            absent: format!("services/{name}.toml does not list it under `secrets`"),
            values: service.secrets.iter().map(secret).collect(),
        };
        let ports = Names {
            kind: "port",
            absent: "no service has a port of this name".to_owned(),
            values: self.ports.clone(),
        };
        let values = BTreeMap::from([
            ("cloud", self.cloud.clone()),
            ("machine", Value::from(Serde(self.machine(layout, machine)))),
            ("role", Value::from(Serde(&machine.role.settings))),
            ("port", Value::from_object(ports)),
            ("secret", Value::from_object(secrets)),
            ("published", self.published.clone()),
            ("databases", self.databases.clone()),
        ]);
        Context { contexts: self, service: name, values }
    }

    fn machine(&self, layout: &Layout<'_>, machine: &Machine<'_>) -> serde_json::Value {
        let internal = machine.addresses.internal;
        let address_for =
            |purpose| layout.address_for(machine, purpose).map_or(internal, |(address, _)| address);
        let mut values = json!({
            "name": machine.name,
            "uuid": uuid(&self.name, machine.name),
            "internal_address": internal,
            "datapath": Datapath::Kernel,
            "tunnel_address": address_for(Network::Tunnel),
            "storage_address": address_for(Network::Storage),
            "migration_address": address_for(Network::Migration),
            "workers": machine.facts.workers(),
        });
        if let Some(tunnel) = self.tunnels.and_then(|tunnels| tunnels.of(layout, machine)) {
            values["datapath"] = json!(Datapath::Userspace);
            values["tunnel_address"] = json!(tunnel.address.addr());
            values["tunnel_mac"] = json!(tunnel.mac);
        }
        let public = machine.links.to(Network::Public.as_str());
        if let (Some(address), Some(link)) = (machine.addresses.public, public) {
            values["public_address"] = json!(address);
            values["provider_link"] = json!(match link {
                // Looked up where the switch starts.
                LinkRef::Card(mac) => format!("link:{mac}"),
                LinkRef::Made(name) => name.to_string(),
            });
        }
        values
    }
}

/// The largest packet that tunnels can be carried in.
fn tunnel_mtu(config: &CloudConfig) -> u16 {
    let network = config.network_for(Network::Tunnel).and_then(|name| config.network(name));
    network.map_or(config.internal.mtu, |network| network.mtu)
}

/// The machine's id in this cloud. It is of the names alone, as Nova's own records are: a machine that
/// is installed again, or enrolled again in the place of a broken one, is the one that it was.
fn uuid(cloud: &str, machine: &NodeName) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(format!("machine {machine} of cloud {cloud}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // Version 8: RFC 9562 leaves its bits to whoever makes it.
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What HAProxy offers: rows of `name`, `number`, `backend_number` and `backends`.
fn published(layout: &Layout<'_>) -> serde_json::Value {
    let mut rows = Vec::new();
    for (name, (service, _)) in layout.services() {
        for port in &service.ports {
            let Some(published) = port.published() else { continue };
            let backends: Vec<_> = layout
                .that_run(name)
                .map(|m| json!({ "machine": m.name, "address": m.addresses.internal }))
                .collect();
            rows.push(json!({
                "name": port.name,
                "number": published,
                "backend_number": port.number.get(),
                "backends": backends,
            }));
        }
    }
    json!(rows)
}

/// The databases of every service of the cloud: rows of `account`, `password` and `names`.
fn databases(layout: &Layout<'_>) -> serde_json::Value {
    let services = layout.services();
    let all = services.values().flat_map(|(service, _)| &service.databases);
    let rows = all.map(|database| {
        json!({
            "account": database.account,
            "password": Reference::Secret(database.password.clone()).to_string(),
            "names": database.names,
        })
    });
    json!(rows.collect::<Vec<_>>())
}

impl<'a> Context<'a> {
    /// What another service's templates see.
    pub(super) fn of(
        &self,
        layout: &Layout<'_>,
        machine: &Machine<'_>,
        name: &'a ServiceName,
        service: &Service,
    ) -> Context<'a> {
        self.contexts.of(layout, machine, name, service)
    }

    /// Renders a short text of `services/NAME.toml`.
    pub(super) fn render(&self, text: &str) -> Result<String, PlanError> {
        let file = format!("services/{}.toml", self.service);
        self.render_as(&file, text, None)
    }

    /// Renders a file.
    pub(super) fn render_file(
        &self,
        entry: &FileEntry,
        templates: &BTreeMap<String, String>,
    ) -> Result<String, PlanError> {
        let values = Value::from(Serde(&entry.values));
        let template = entry.template.as_ref();
        let found = template.and_then(|name| templates.get_key_value(name));
        let (file, text) = match (&entry.text, found) {
            (Some(text), _) => (format!("services/{}.toml", self.service), text.as_str()),
            (None, Some((name, text))) => (format!("services/{name}"), text.as_str()),
            // The definitions' checks have seen that there is one.
            (None, None) => (String::new(), ""),
        };
        self.render_as(&file, text, Some(values))
    }

    fn render_as(
        &self,
        file: &str,
        text: &str,
        values: Option<Value>,
    ) -> Result<String, PlanError> {
        let mut names: BTreeMap<&str, Value> =
            self.values.iter().map(|(k, v)| (*k, v.clone())).collect();
        if let Some(values) = values {
            names.insert("values", values);
        }
        let context = Value::from(Serde(&names));
        self.contexts.renderer.render(file, text, &context).map_err(|fault| PlanError::Template {
            service: self.service.to_string(),
            file: file.to_owned(),
            line: fault.line,
            problem: fault.problem,
        })
    }
}
