//! The config drive of a deployment, in OpenStack's format, with our agent's identity beside it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use undercloud_image::configdrive::{ConfigDrive, ConfigDriveError};
use undercloud_model::{
    Secret,
    agent::{DRIVE_IDENTITY_PATH, InstalledIdentity, PROTOCOL_VERSION},
    node::{DeployRequest, Node},
};

use crate::AgentEndpoint;

/// The drive's bytes. The same input gives the same bytes.
///
/// # Errors
/// User data and keys are too large.
pub fn config_drive(
    node: &Node,
    request: &DeployRequest,
    endpoint: &AgentEndpoint,
    machine_key: &Secret,
) -> Result<Vec<u8>, ConfigDriveError> {
    let hostname = request.hostname.clone().unwrap_or_else(|| node.name.to_string());
    let mut drive = ConfigDrive::new();
    drive.meta_data(&meta_data(node, request, &hostname));
    drive.network_data(&request.network_data.clone().unwrap_or_else(|| network_data(node)));
    if let Some(user_data) = &request.user_data {
        drive.user_data(user_data.as_bytes());
    }
    if request.image.has_agent {
        let identity = installed_identity(node, endpoint, machine_key);
        // Its only fields are texts and ids: it can be written down.
        let identity = serde_json::to_vec(&identity).unwrap_or_default();
        drive.file(DRIVE_IDENTITY_PATH, identity)?;
    }
    drive.to_iso()
}

/// What the agent of an installed machine needs to call home, with this key.
pub fn installed_identity(
    node: &Node,
    endpoint: &AgentEndpoint,
    machine_key: &Secret,
) -> InstalledIdentity {
    InstalledIdentity {
        protocol: PROTOCOL_VERSION,
        api: endpoint.api.clone(),
        node: node.id,
        name: node.name.clone(),
        key: machine_key.clone(),
        ca_pem: endpoint.ca_pem.clone(),
    }
}

/// OpenStack's `meta_data.json` (nova, "Metadata service", 2018-08-27).
fn meta_data(node: &Node, request: &DeployRequest, hostname: &str) -> Value {
    let mut keys = serde_json::Map::new();
    for (n, key) in request.ssh_keys.iter().enumerate() {
        keys.insert(format!("key-{n}"), json!(key));
    }
    json!({
        "uuid": node.id,
        "name": node.name,
        "hostname": hostname,
        "public_keys": keys,
        "meta": { "profile": node.properties.profile().unwrap_or_default() },
    })
}

/// OpenStack's `network_data.json`: the boot interface keeps the address that it has on the
/// provisioning network, the others stay down.
fn network_data(node: &Node) -> Value {
    let Some(port) = node.boot_port() else {
        return json!({ "links": [], "networks": [], "services": [] });
    };
    let netmask: Ipv4Addr = port.address.netmask();
    json!({
        "links": [{
            "id": "provisioning",
            "type": "phy",
            "ethernet_mac_address": port.mac,
        }],
        "networks": [{
            "id": "provisioning",
            "link": "provisioning",
            "type": "ipv4",
            "ip_address": port.address.addr(),
            "netmask": netmask,
            "routes": [],
        }],
        "services": [],
    })
}
