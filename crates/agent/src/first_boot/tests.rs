//! A config drive as a directory, applied to a system as a directory.

use std::{fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use super::*;

const IDENTITY: &str = r#"{"protocol":1,"api":"https://192.168.24.1:8443",
"node":"6f1b2d3c-0000-4000-8000-000000000001","name":"compute-0","key":"not-for-others",
"ca_pem":"PEM"}"#;
const META_DATA: &str = r#"{"uuid":"6f1b2d3c-0000-4000-8000-000000000001","hostname":"compute-0",
"public_keys":{"operator":"ssh-ed25519 AAAAC3Nz operator"},"availability_zone":"nova"}"#;
const NETWORK_DATA: &str = r#"{
"links":[
 {"id":"nic0","type":"phy","ethernet_mac_address":"52:54:00:12:34:56","mtu":1500},
 {"id":"nic1","type":"phy","ethernet_mac_address":"52:54:00:12:34:57"},
 {"id":"internal","type":"vlan","vlan_id":20,"vlan_link":"nic0",
  "vlan_mac_address":"52:54:00:12:34:58"}],
"networks":[
 {"id":"ctlplane","link":"nic0","type":"ipv4","ip_address":"192.168.24.101",
  "netmask":"255.255.255.0","routes":[{"network":"0.0.0.0","netmask":"0.0.0.0",
  "gateway":"192.168.24.1"}],"network_id":"x"},
 {"id":"internal","link":"internal","type":"ipv4","ip_address":"172.16.2.11/24"},
 {"id":"v6","link":"nic0","type":"ipv6","ip_address":"fd00::11","netmask":"64"}],
"services":[{"type":"dns","address":"192.168.24.1"}]}"#;

struct Trial {
    drive: tempfile::TempDir,
    system: tempfile::TempDir,
    host: Host,
    log: Log,
}

fn trial(files: &[(&str, &str)]) -> Trial {
    let drive = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = drive.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let system = tempfile::tempdir().unwrap();
    let host = Host::below(system.path());
    Trial { drive, system, host, log: Log::new(Vec::new()) }
}

fn whole() -> Trial {
    trial(&[
        ("undercloud/agent.json", IDENTITY),
        ("openstack/latest/meta_data.json", META_DATA),
        ("openstack/latest/network_data.json", NETWORK_DATA),
    ])
}

impl Trial {
    fn apply(&self) -> Result<Applied, FirstBootError> {
        let mut drive = Contents::Directory(self.drive.path().to_owned());
        apply(&self.host, &mut drive, &self.log)
    }

    /// All files of the system, with their modes.
    fn files(&self) -> String {
        let mut text = String::new();
        let mut dirs = vec![self.system.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            let mut entries: Vec<_> =
                fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
            entries.sort();
            for path in entries {
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                let name = path.strip_prefix(self.system.path()).unwrap().display();
                let content = fs::read_to_string(&path).unwrap();
                text.push_str(&format!("==> /{name} ({mode:o})\n{content}\n"));
            }
        }
        text
    }
}

#[test]
fn a_whole_drive() {
    let trial = whole();
    let applied = trial.apply().unwrap();
    assert_eq!(applied.hostname.as_deref(), Some("compute-0"));
    assert_eq!(applied.identity.as_deref(), Some(IDENTITY.as_bytes()));
    insta::assert_snapshot!(trial.files());
    let said = trial.log.take().join("\n");
    assert!(!said.contains("not-for-others"), "{said}");
}

#[test]
fn twice_is_the_same_as_once() {
    let trial = whole();
    trial.apply().unwrap();
    let once = trial.files();
    trial.apply().unwrap();
    assert_eq!(trial.files(), once);
}

#[test]
fn an_erased_key_is_no_fault_once_it_is_installed() {
    let trial = whole();
    let erased = "\0".repeat(IDENTITY.len());
    trial.apply().unwrap();
    fs::write(trial.drive.path().join("undercloud/agent.json"), &erased).unwrap();
    assert_eq!(trial.apply().unwrap().identity, None);
    assert!(trial.files().contains("not-for-others"));

    let fresh = self::trial(&[("undercloud/agent.json", &erased)]);
    assert!(matches!(fresh.apply(), Err(FirstBootError::Syntax { .. })));
}

#[test]
fn keys_of_others_stay() {
    let trial = whole();
    let path = trial.system.path().join("root/.ssh/authorized_keys");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "ssh-rsa AAAA mine").unwrap();
    trial.apply().unwrap();
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "ssh-rsa AAAA mine\nssh-ed25519 AAAAC3Nz operator\n"
    );
}

#[test]
fn a_drive_of_somebody_else_without_an_identity_is_enough_to_boot() {
    let trial = trial(&[("openstack/latest/meta_data.json", META_DATA)]);
    let applied = trial.apply().unwrap();
    assert_eq!((applied.hostname.as_deref(), applied.identity), (Some("compute-0"), None));
}

/// The files for this network data, one after the other.
fn files_of(data: serde_json::Value) -> String {
    let files = render(&NetworkData::parse(&data).unwrap()).unwrap();
    files.iter().map(|f| format!("==> {}\n{}\n", f.name, f.content)).collect()
}

#[test]
fn a_gateway_elsewhere_and_a_route_without_one() {
    let text = files_of(serde_json::json!({
        "links": [{ "id": "a", "ethernet_mac_address": "52:54:00:12:34:56" }],
        "networks": [{ "link": "a", "type": "ipv4", "ip_address": "192.168.24.50/32",
                       "gateway": "192.168.24.1", "routes": [{ "network": "10.1.0.0/16" }] }],
    }));
    let near = "[Route]\nDestination=10.1.0.0/16\nScope=link\n";
    let far = "[Route]\nDestination=0.0.0.0/0\nGateway=192.168.24.1\nGatewayOnLink=yes\n";
    assert!(text.contains(near) && text.contains(far), "{text}");
}

#[test]
fn dhcp_and_links_without_addresses() {
    insta::assert_snapshot!(files_of(serde_json::json!({
        "links": [
            { "id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56" },
            { "id": "b", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:57" },
        ],
        "networks": [
            { "link": "a", "type": "ipv4_dhcp" },
            { "link": "a", "type": "ipv6_slaac" },
        ],
    })));
}

proptest! {
    #[test]
    fn any_network_data_gives_files_or_an_error(
        id in ".{0,20}", mac in ".{0,20}", kind in "phy|vlan|ovs|.{0,4}", address in ".{0,20}",
        gateway in ".{0,20}", vlan in any::<u16>(), mtu in any::<u32>(),
    ) {
        let data = serde_json::json!({
            "links": [{ "id": id, "type": kind, "ethernet_mac_address": mac, "mtu": mtu,
                        "vlan_id": vlan, "vlan_link": id }],
            "networks": [{ "link": id, "type": "ipv4", "ip_address": address, "netmask": "24",
                           "gateway": gateway,
                           "routes": [{ "network": "0.0.0.0/0", "gateway": gateway }] }],
        });
        let data = NetworkData::parse(&data).unwrap();
        for file in render(&data).unwrap_or_default() {
            prop_assert!(file.name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c)));
        }
    }
}
