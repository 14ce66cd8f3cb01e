//! TripleO's `instackenv.json`: machines to enrol.
//!
//! ```json
//! {"nodes": [{"name": "controller-0", "pm_type": "ipmi", "pm_addr": "127.0.0.1", "pm_port": 6230,
//!             "pm_user": "admin", "pm_password": "…", "ports": [{"address": "52:54:00:…"}],
//!             "cpu": 2, "memory": 4096, "disk": 40, "arch": "x86_64",
//!             "capabilities": "profile:control,boot_mode:uefi"}]}
//! ```
//! Written by people and by tools of others: numbers may be strings, `mac` stands for `ports`, and
//! keys that we do not know are passed over ([`read`]).

mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use undercloud_model::{
    RootDeviceHints, Secret, expose_on_the_wire,
    node::{FieldError, NewNode, Properties, RawNode, parse_capabilities},
};

use crate::ApiError;

/// Most machines in one file.
const NODES_MAX: usize = 1000;

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instackenv {
    /// The machines.
    pub nodes: Vec<Entry>,
}

/// A machine in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its name; `node-N` by its place if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ipmi` or TripleO's older `pxe_ipmitool`; `redfish`; or ours, `redfish-ipmi`: Redfish, and
    /// IPMI for what it lacks.
    #[serde(default = "ipmi")]
    pub pm_type: String,
    /// The BMC's address; with `redfish`, also `https://ADDRESS:PORT`.
    pub pm_addr: String,
    /// The BMC's port: 623 if none is given; with `redfish`, 443.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub pm_port: Option<u64>,
    /// Redfish's port where `pm_port` is IPMI's; 443 if none is given.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub redfish_port: Option<u64>,
    /// The path of the machine's Redfish system; may be left out where the login shows only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pm_system_id: String,
    /// Ironic's: `true` (also if it is left out), `false`, or the path of a CA's file; ours: the
    /// SHA-256 of the certificate.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "String::is_empty")]
    pub redfish_verify_ca: String,
    /// `ipxe` if it is left out, or `redfish-virtual-media`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_interface: String,
    /// The user.
    pub pm_user: String,
    /// Its password.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub pm_password: Secret,
    /// Its interfaces, the one that it boots from first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EntryPort>,
    /// The same as plain addresses: the older spelling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mac: Vec<String>,
    /// Processors.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
    /// Memory in MiB.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Disk in GiB.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// `x86_64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `profile:control,boot_mode:uefi`, or the same as an object.
    #[serde(default, deserialize_with = "capabilities", serialize_with = "capabilities_text")]
    pub capabilities: BTreeMap<String, String>,
    /// Which disk gets the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<RootDeviceHints>,
    /// Ironic's resource class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
}

/// An interface in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryPort {
    /// Its hardware address.
    pub address: String,
}

impl TryFrom<Instackenv> for Vec<NewNode> {
    type Error = ApiError;

    fn try_from(file: Instackenv) -> Result<Self, ApiError> {
        if file.nodes.is_empty() || file.nodes.len() > NODES_MAX {
            let count = file.nodes.len();
            let text = format!("the file has {count} machines; 1 to {NODES_MAX} can be enrolled");
            return Err(ApiError::invalid(text));
        }
        let place = |(i, entry): (usize, Entry)| entry.parse(i);
        let nodes: Self =
            file.nodes.into_iter().enumerate().map(place).collect::<Result<_, _>>()?;
        for (place, node) in nodes.iter().enumerate() {
            // The file is short: each is compared with all before it.
            for earlier in nodes.iter().take(place) {
                check_apart(earlier, node)?;
            }
        }
        Ok(nodes)
    }
}

/// Two machines are not one.
fn check_apart(one: &NewNode, other: &NewNode) -> Result<(), ApiError> {
    if one.name == other.name {
        let message = format!("two machines have the name {}", one.name);
        return Err(ApiError::invalid(message));
    }
    let both = || format!("{} and {}", one.name, other.name);
    if let Some(mac) = one.macs.iter().find(|mac| other.macs.contains(mac)) {
        return Err(ApiError::invalid(format!("{} have the MAC address {mac}", both())));
    }
    if one.bmc.is_same_machine(one.driver, &other.bmc, other.driver) {
        let (a, b) = (one.bmc.place(), other.bmc.place());
        let place = if a == b { a } else { format!("{a} ({b})") };
        return Err(ApiError::invalid(format!("{} have the BMC {place}", both())));
    }
    Ok(())
}

/// Takes `https://ADDRESS:PORT` apart; anything else is left as it is.
fn split_address(text: &str) -> (String, Option<u64>) {
    let Some(rest) = text.strip_prefix("https://") else { return (text.to_owned(), None) };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (rest, None),
    };
    (host.trim_matches(['[', ']']).to_owned(), port)
}

impl Entry {
    fn parse(self, place: usize) -> Result<NewNode, ApiError> {
        let name = self.name.unwrap_or_else(|| format!("node-{place}"));
        let shown = name.escape_debug().to_string();
        let driver = match self.pm_type.as_str() {
            "pxe_ipmitool" => "ipmi".to_owned(),
            _ => self.pm_type,
        };
        // What is no UDP port is refused below.
        let port = |port: u64| u32::try_from(port).unwrap_or(u32::MAX);
        let (bmc_address, own_port) = match driver.as_str() {
            "redfish" => split_address(&self.pm_addr),
            _ => (self.pm_addr, None),
        };
        let raw = RawNode {
            name,
            driver,
            bmc_address,
            bmc_port: self.pm_port.or(own_port).map(port),
            redfish_port: self.redfish_port.map(port),
            redfish_system: self.pm_system_id,
            redfish_verify_ca: self.redfish_verify_ca,
            boot_interface: self.boot_interface,
            bmc_user: self.pm_user,
            bmc_password: self.pm_password,
            macs: self.ports.into_iter().map(|p| p.address).chain(self.mac).collect(),
            boot_mode: String::new(),
            properties: Properties {
                cpus: self.cpu.and_then(|n| u32::try_from(n).ok()),
                memory_mb: self.memory,
                local_gb: self.disk,
                cpu_arch: self.arch,
                capabilities: self.capabilities,
            },
            root_device: self.root_device.unwrap_or_default(),
            resource_class: self.resource_class.unwrap_or_default(),
        };
        raw.try_into().map_err(|FieldError { field, why }| {
            let field = match field {
                "driver" => "pm_type",
                "bmc_address" => "pm_addr",
                "bmc_port" => "pm_port",
                "redfish_system" => "pm_system_id",
                "bmc_user" => "pm_user",
                "bmc_password" => "pm_password",
                "mac" => "ports",
                other => other,
            };
            ApiError::invalid(format!("machine `{shown}`: {field}: {why}"))
        })
    }
}

fn ipmi() -> String {
    "ipmi".to_owned()
}

/// A number, also one in quotes. Empty is none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => None,
        Some(Either::Number(n)) => Some(n),
        Some(Either::Text(text)) if text.trim().is_empty() => None,
        Some(Either::Text(text)) => {
            Some(text.trim().parse().map_err(|_| D::Error::custom("not a number"))?)
        }
    })
}

/// A text, also one that is `true` or `false` without quotes.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Truth(bool),
        Text(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Truth(truth) => truth.to_string(),
        Either::Text(text) => text,
    })
}

fn capabilities<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Map(BTreeMap<String, String>),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => BTreeMap::new(),
        Some(Either::Map(map)) => map,
        Some(Either::Text(text)) => parse_capabilities(&text).map_err(D::Error::custom)?,
    })
}

fn capabilities_text<S: Serializer>(
    map: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    serializer.serialize_str(&pairs.join(","))
}

#[cfg(test)]
mod tests {
    use undercloud_model::{
        BootMode,
        node::{BootInterface, Driver, VerifyCa},
    };

    use super::*;

    fn parse(text: &str) -> Result<Vec<NewNode>, ApiError> {
        Instackenv::parse(text.as_bytes())?.try_into()
    }

    #[test]
    fn both_spellings_are_read() {
        let nodes = parse(
            r#"{"nodes":[
            {"name":"controller-0","pm_type":"ipmi","pm_addr":"127.0.0.1","pm_port":"6230",
             "pm_user":"admin","pm_password":"p","ports":[{"address":"52:54:00:00:00:01"}],
             "cpu":2,"memory":"4096","disk":"","arch":"x86_64",
             "capabilities":"profile:control, boot_mode:uefi","other":1},
            {"pm_type":"pxe_ipmitool","pm_addr":"::1","pm_user":"u","pm_password":"p",
             "mac":["52-54-00-00-00-02"],"capabilities":{"profile":"compute"},
             "root_device":{"serial":"x"}}]}"#,
        )
        .unwrap();
        assert_eq!(nodes[0].bmc.port, 6230);
        assert_eq!(nodes[0].boot_mode, BootMode::Uefi);
        assert_eq!(nodes[0].properties.profile(), Some("control"));
        assert_eq!(
            (nodes[0].properties.memory_mb, nodes[0].properties.local_gb),
            (Some(4096), None)
        );
        assert_eq!((nodes[1].name.as_str(), nodes[1].bmc.port), ("node-1", 623));
        assert_eq!(nodes[1].root_device.serial.as_deref(), Some("x"));
        assert!(!format!("{nodes:?}").contains("\"p\""), "passwords are not printed");
    }

    #[test]
    fn redfish_is_read_as_tripleo_writes_it() {
        let nodes = parse(
            r#"{"nodes":[
            {"name":"a","pm_type":"redfish","pm_addr":"https://10.0.0.1:8443/","pm_user":"u",
             "pm_system_id":"/redfish/v1/Systems/1","pm_password":"p","redfish_verify_ca":false,
             "ports":[{"address":"52:54:00:00:00:01"}],"boot_interface":"redfish-virtual-media"},
            {"name":"b","pm_type":"redfish","pm_addr":"https://[fd00::1]","pm_user":"u",
             "pm_password":"p","ports":[{"address":"52:54:00:00:00:02"}]},
            {"name":"c","pm_type":"redfish-ipmi","pm_addr":"10.0.0.3","pm_user":"u",
             "pm_password":"p","ports":[{"address":"52:54:00:00:00:03"}],"redfish_port":"8443"}]}"#,
        )
        .unwrap();
        let redfish: Vec<_> = nodes.iter().map(|n| n.bmc.redfish.clone().unwrap()).collect();
        assert_eq!((nodes[0].bmc.port, redfish[0].port), (8443, 8443));
        assert_eq!(redfish[0].verify_ca, VerifyCa::Any);
        assert_eq!(nodes[0].boot_interface, BootInterface::RedfishVirtualMedia);
        assert_eq!((nodes[1].bmc.address.to_string(), redfish[1].port), ("fd00::1".into(), 443));
        assert_eq!(redfish[1].verify_ca, VerifyCa::Trusted);
        assert_eq!((nodes[2].bmc.port, redfish[2].port), (623, 8443));
        assert_eq!(nodes[2].driver, Driver::RedfishIpmi);
    }

    #[test]
    fn systems_of_one_redfish_are_machines_of_their_own() {
        let machine = |name: &str, mac: u8, system: &str| {
            serde_json::json!({"name": name, "pm_type": "redfish", "pm_addr": "10.0.0.1",
                "pm_user": "u", "pm_password": "p", "pm_system_id": system,
                "mac": [format!("52:54:00:00:00:{mac:02x}")]})
        };
        for (one, other, accepted) in [("", "", false), ("1", "1", false), ("1", "2", true)] {
            let file = serde_json::json!({"nodes": [machine("a", 1, one), machine("b", 2, other)]});
            assert_eq!(parse(&file.to_string()).is_ok(), accepted, "{one} {other}");
        }
    }

    #[test]
    fn what_cannot_be_enrolled_is_named() {
        let machine = || {
            serde_json::json!({"name": "a", "pm_addr": "10.0.0.1", "pm_user": "u",
                "pm_password": "p", "mac": ["52:54:00:00:00:01"]})
        };
        for (key, value, expected) in [
            ("name", "a".into(), "the name a"),
            ("pm_addr", "10.0.0.1".into(), "a and b have the BMC 10.0.0.1:623"),
            ("pm_addr", "::ffff:10.0.0.1".into(), "a and b have the BMC 10.0.0.1:623"),
            ("mac", serde_json::json!(["52:54:00:00:00:01"]), "a and b have the MAC address"),
            ("mac", serde_json::json!([]), "ports: give"),
            ("pm_addr", "bmc".into(), "pm_addr: `bmc`"),
            ("name", "B".into(), "lower-case"),
            ("pm_type", "ilo5".into(), "pm_type: `ilo5`"),
            ("boot_interface", "redfish-virtual-media".into(), "boot_interface: "),
            ("pm_port", 70_000.into(), "pm_port: 70000"),
        ] {
            let mut second = machine();
            second["name"] = "b".into();
            second["pm_addr"] = "10.0.0.2".into();
            second["mac"] = serde_json::json!(["52:54:00:00:00:02"]);
            second[key] = value;
            let file = serde_json::json!({"nodes": [machine(), second]});
            let error = parse(&file.to_string()).unwrap_err();
            assert!(error.message.contains(expected), "{key}: {error}");
        }
        assert!(parse(r#"{"nodes":[]}"#).is_err());
        let wrong = parse(r#"{"nodes":[{"pm_password":{"hunter2":1}}]}"#).unwrap_err();
        assert!(!wrong.message.contains("hunter2"));
    }
}
