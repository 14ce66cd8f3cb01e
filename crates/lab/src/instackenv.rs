//! `instackenv.json`: the list of machines in TripleO's format, by which `node import` enrols
//! virtual machines exactly as it enrols metal.

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use undercloud_model::{
    BootMode, MacAddr, NodeName, Secret, expose_on_the_wire,
    node::{BootInterface, Driver},
};

use crate::{LabError, MachineDefinition, machine::files::write_json};

/// Where a machine's BMC answers, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcAccess {
    /// Its address.
    pub address: std::net::IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// Redfish's TCP port there.
    pub redfish_port: u16,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Instackenv {
    /// The machines.
    pub nodes: Vec<Node>,
}

/// One machine. Numbers are texts, as in TripleO's own files.
#[derive(Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// How its power is managed.
    pub pm_type: String,
    /// The BMC's address.
    pub pm_addr: String,
    /// The BMC's port.
    pub pm_port: String,
    /// Redfish's port, where `pm_port` is IPMI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish_port: Option<String>,
    /// The path of its Redfish system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pm_system_id: Option<String>,
    /// How its ramdisk gets to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_interface: Option<String>,
    /// The BMC's user.
    pub pm_user: String,
    /// The user's password.
    #[serde(serialize_with = "expose_on_the_wire")]
    pub pm_password: Secret,
    /// The NIC that it boots from.
    pub ports: Vec<Port>,
    /// CPUs.
    pub cpu: String,
    /// Memory in MiB.
    pub memory: String,
    /// Disk in GiB.
    pub disk: String,
    /// CPU architecture.
    pub arch: String,
    /// `profile:…,boot_mode:…`.
    pub capabilities: String,
    /// Which disk the system goes to.
    pub root_device: RootDevice,
}

/// One NIC.
#[derive(Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its address.
    pub address: MacAddr,
    /// The network that it boots from, in TripleO's words.
    pub physical_network: String,
}

/// A hint for the disk that the system goes to.
#[derive(Debug, Serialize, Deserialize)]
pub struct RootDevice {
    /// Its serial number.
    pub serial: String,
}

impl Instackenv {
    /// The file for these machines and their BMCs.
    pub fn of<'a>(
        machines: impl IntoIterator<Item = (&'a MachineDefinition, &'a BmcAccess)>,
    ) -> Self {
        Self { nodes: machines.into_iter().map(|(machine, bmc)| node(machine, bmc)).collect() }
    }

    /// Writes the file for its owner alone; replaces an older one as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Utf8Path) -> Result<(), LabError> {
        write_json(path, self, 0o600)
    }
}

fn node(machine: &MachineDefinition, bmc: &BmcAccess) -> Node {
    let mode = match machine.firmware {
        BootMode::Bios => "bios",
        BootMode::Uefi => "uefi",
    };
    let (pm_port, redfish_port) = match machine.driver {
        Driver::Ipmi => (bmc.port, None),
        Driver::Redfish => (bmc.redfish_port, None),
        Driver::RedfishIpmi => (bmc.port, Some(bmc.redfish_port.to_string())),
    };
    let system = match machine.driver {
        Driver::Ipmi => None,
        Driver::Redfish | Driver::RedfishIpmi => {
            Some(format!("/redfish/v1/Systems/{}", machine.name))
        }
    };
    let boot_interface = match machine.boot_interface {
        BootInterface::Ipxe => None,
        other @ BootInterface::RedfishVirtualMedia => Some(other.as_str().to_owned()),
    };
    let port = |mac| Port { address: mac, physical_network: "ctlplane".to_owned() };
    Node {
        name: machine.name.clone(),
        pm_type: machine.driver.as_str().to_owned(),
        pm_addr: bmc.address.to_string(),
        pm_port: pm_port.to_string(),
        redfish_port,
        pm_system_id: system,
        boot_interface,
        pm_user: bmc.user.clone(),
        pm_password: bmc.password.clone(),
        ports: machine.nics.first().map(|nic| port(nic.mac)).into_iter().collect(),
        cpu: machine.cpus.to_string(),
        memory: machine.memory_mib.to_string(),
        disk: machine.disk_gib.to_string(),
        arch: "x86_64".to_owned(),
        capabilities: format!("profile:{},boot_mode:{mode}", machine.profile),
        root_device: RootDevice { serial: machine.disk_serial.clone() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use camino::Utf8PathBuf;

    use super::*;
    use crate::{LabConfig, LabNames};

    fn access() -> BmcAccess {
        BmcAccess {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 6230,
            redfish_port: 6321,
            user: "admin".to_owned(),
            password: Secret::new("a password for tests"),
        }
    }

    #[test]
    fn the_file_is_tripleos_and_its_owners_alone() {
        let names = LabNames::from_real_path(Utf8Path::new("/var/lib/undercloud"));
        let machines = crate::lab::definitions(&names, &LabConfig::default());
        let access = access();
        let file = Instackenv::of(machines.iter().map(|machine| (machine, &access)));
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(directory.path().join("instackenv.json")).unwrap();
        file.write(&path).unwrap();
        file.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap());
    }
}
