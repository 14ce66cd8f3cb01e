//! What a machine's process is told when it is started: JSON, written by the lab.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use undercloud_model::MacAddr;
use uuid::Uuid;

/// A machine. Paths are absolute; the process runs in the directory of its sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name, for messages.
    pub name: String,
    /// A word that no other machine of this host has: names its control groups.
    pub scope: String,
    /// Its system GUID, which DHCP is told (option 97).
    pub system_guid: Uuid,
    /// What it says that it is, in DHCP.
    pub firmware: Firmware,
    /// The file of its disk.
    pub disk: Utf8PathBuf,
    /// The serial number of its disk.
    pub disk_serial: String,
    /// Its further disks.
    #[serde(default)]
    pub more_disks: Vec<Disk>,
    /// An empty directory to mount its root file system on, in its own mount namespace.
    pub root: Utf8PathBuf,
    /// The lab's network namespace, as `ip netns` names it.
    pub namespace: String,
    /// Its cards; it boots from the first.
    pub cards: Vec<Card>,
    /// The most memory that it may use, in MiB.
    pub memory_mib: u32,
    /// Its share of the processors, in processors.
    pub cpus: u32,
    /// Its first boot order: `disk0` and `nic0`.
    pub order: Vec<String>,
    /// Where images lie that it may have mounted, by digest: `sha256/ab/abcdef…`.
    pub blobs: Utf8PathBuf,
}

/// What a machine's firmware calls itself to a DHCP server (RFC 4578, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A BIOS on x86.
    Bios,
    /// UEFI on x86-64.
    Uefi,
}

/// A disk that it does not boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its file.
    pub file: Utf8PathBuf,
    /// Its serial number.
    pub serial: String,
}

/// A network card: one end of a pair of virtual Ethernet links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Its address.
    pub mac: MacAddr,
    /// The other end, in the lab's namespace.
    pub port: String,
    /// The bridge that the other end is a port of.
    pub bridge: String,
}
