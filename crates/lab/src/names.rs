//! Names, ids and addresses of a lab, all derived from the path of its state directory: two state
//! directories never share a namespace, a user or a MAC, and the same directory gives the same
//! lab again.

use std::net::Ipv4Addr;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use undercloud_model::{MacAddr, NodeName};
use uuid::Uuid;

use crate::{LabError, NetworkName};

/// First of the 2^28 user ids that machines run as. systemd's table of user ids
/// ("Users, Groups, UIDs and GIDs on systemd Systems") leaves this range to nobody.
const UID_FIRST: u32 = 0x7000_0000;

/// Derives names from a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNames {
    digest: [u8; 32],
    state: Utf8PathBuf,
}

impl LabNames {
    /// The names of the lab whose state is in `state`, which must exist.
    ///
    /// # Errors
    /// When the directory's real path cannot be found.
    pub fn for_state(state: &Utf8Path) -> Result<Self, LabError> {
        let real =
            state.canonicalize_utf8().map_err(LabError::file("find the real path of", state))?;
        Ok(Self::from_real_path(&real))
    }

    /// The names of the lab whose state has this absolute path without links.
    pub fn from_real_path(path: &Utf8Path) -> Self {
        Self { digest: Sha256::digest(path.as_str()).into(), state: path.to_owned() }
    }

    /// The state directory.
    pub fn state(&self) -> &Utf8Path {
        &self.state
    }

    /// The network namespace.
    pub fn namespace(&self) -> String {
        format!("uc-{}", hex::encode(&self.digest[..4]))
    }

    /// The bridge of a network: at most 15 characters, as Linux wants it.
    pub fn bridge(&self, network: &NetworkName) -> String {
        format!("br-{network}")
    }

    /// The bridge's own address: set, because it would otherwise change with its ports.
    pub fn bridge_mac(&self, network: &NetworkName) -> MacAddr {
        self.derived_mac(&["bridge", network.as_str()])
    }

    /// The host's end of the link to the external network: the one name of the lab that is seen
    /// outside its namespace.
    pub fn host_link(&self) -> String {
        format!("uc{}", hex::encode(&self.digest[..4]))
    }

    /// Addresses of the two ends of that link, the host's first, for this `attempt`. They are
    /// link-local (RFC 3927), two of a /31 (RFC 3021), and far from 169.254.169.254, where a host
    /// that is itself a virtual machine may look for its metadata.
    pub fn link_addresses(&self, attempt: u32) -> (Ipv4Addr, Ipv4Addr) {
        let [a, b, ..] = self.derive(&["link", &attempt.to_string()]);
        let first = u16::from_be_bytes([64 | (a & 63), b & 0xfe]);
        let address = |low: u16| Ipv4Addr::from(0xa9fe_0000 | u32::from(low));
        (address(first), address(first | 1))
    }

    /// The tap device of the NIC with this address: exactly 15 characters.
    pub fn tap(mac: MacAddr) -> String {
        format!("tap{}", hex::encode(mac.as_bytes()))
    }

    /// A NIC's address. `attempt` is raised when two NICs of a lab got the same one.
    pub fn mac(&self, machine: &NodeName, network: &NetworkName, attempt: u32) -> MacAddr {
        self.derived_mac(&["nic", machine.as_str(), network.as_str(), &attempt.to_string()])
    }

    /// The user and group that the machine's QEMU runs as.
    pub fn uid(&self, machine: &NodeName) -> u32 {
        let [a, b, c, d, ..] = self.derive(&["uid", machine.as_str()]);
        UID_FIRST | (u32::from_be_bytes([a, b, c, d]) >> 4)
    }

    /// The control groups of a machine that is a container.
    pub fn scope(&self, machine: &NodeName) -> String {
        format!("{}-{machine}", self.namespace())
    }

    /// The machine's system GUID (SMBIOS type 1, IPMI "Get System GUID").
    pub fn system_guid(&self, machine: &NodeName) -> Uuid {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&self.derive(&["guid", machine.as_str()])[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The serial number of the machine's disk: 16 characters, virtio allows 20.
    pub fn disk_serial(&self, machine: &NodeName) -> String {
        format!("UC{}", hex::encode_upper(&self.derive(&["disk", machine.as_str()])[..7]))
    }

    /// The serial number of one of its further disks, counted from 1.
    pub fn further_disk_serial(&self, machine: &NodeName, index: usize) -> String {
        let derived = self.derive(&["disk", machine.as_str(), &index.to_string()]);
        format!("UC{}", hex::encode_upper(&derived[..7]))
    }

    /// Where the lab keeps its files.
    pub fn directory(state: &Utf8Path) -> Utf8PathBuf {
        state.join("lab")
    }

    fn derived_mac(&self, what: &[&str]) -> MacAddr {
        let [a, b, c, ..] = self.derive(what);
        MacAddr::from_bytes([0x52, 0x54, 0x00, a, b, c])
    }

    fn derive(&self, what: &[&str]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.digest);
        for part in what {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> LabNames {
        LabNames::from_real_path(Utf8Path::new(path))
    }

    #[test]
    fn the_same_directory_gives_the_same_names_and_another_gives_others() {
        let (a, b) = (names("/var/lib/undercloud"), names("/var/lib/undercloud-2"));
        let machine: NodeName = "compute-0".parse().unwrap();
        let network: NetworkName = "internal".parse().unwrap();
        assert_eq!(a, names("/var/lib/undercloud"));
        assert_ne!(a.namespace(), b.namespace());
        assert_ne!(a.uid(&machine), b.uid(&machine));
        assert_ne!(a.system_guid(&machine), b.system_guid(&machine));
        assert_ne!(a.disk_serial(&machine), b.disk_serial(&machine));
        assert_ne!(a.disk_serial(&machine), a.further_disk_serial(&machine, 1));
        assert_ne!(a.further_disk_serial(&machine, 2), a.further_disk_serial(&machine, 1));
        assert_ne!(a.mac(&machine, &network, 0), b.mac(&machine, &network, 0));
        assert_ne!(a.mac(&machine, &network, 0), a.mac(&machine, &network, 1));
        assert_ne!(a.bridge_mac(&network), a.mac(&machine, &network, 0));
    }

    #[test]
    fn what_linux_and_virtio_limit_stays_within_its_limits() {
        let lab = names("/var/lib/undercloud");
        let machine: NodeName = "x".repeat(63).parse().unwrap();
        let network: NetworkName = "n23456789012".parse().unwrap();
        let mac = lab.mac(&machine, &network, 0);
        assert_eq!(mac.as_bytes()[..3], [0x52, 0x54, 0x00]);
        assert_eq!(LabNames::tap(mac).len(), 15);
        assert!(lab.bridge(&network).len() <= 15);
        assert!(lab.disk_serial(&machine).len() <= 20);
        assert_eq!(lab.namespace().len(), 11);
        assert_eq!(lab.host_link().len(), 10);
        for attempt in 0..100 {
            let (host, inside) = lab.link_addresses(attempt);
            assert_eq!(u32::from(host) | 1, u32::from(inside));
            assert_eq!(u32::from(host) & 1, 0);
            assert!(matches!(host.octets(), [169, 254, 64..=127, _]), "{host}");
        }
        assert!((0x7000_0000..0x8000_0000).contains(&lab.uid(&machine)));
    }
}
