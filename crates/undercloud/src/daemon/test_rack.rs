//! Two machines that tests of the daemon's parts plan a cloud on.

#![allow(clippy::unwrap_used, reason = "all of it is for tests: a failure is a panic")]

use std::collections::BTreeMap;

use camino::Utf8Path;
use undercloud_api::tls::Authority;
use undercloud_cloud::Definitions;
use undercloud_image::oci::{ContainerImage, Piece};
use undercloud_model::{
    Caller, Content, Digest, Finding, MacAddr, Secret, Signature,
    inventory::{Cpu, Disk, Inventory, System},
    node::{NewNode, RawNode},
};
use undercloud_store::{Open, ProvisioningRange, Store};

use super::cloud::{Clouds, LabNics};
use crate::state::StateDir;

/// Two machines of metal, what is known here of them, and all images of containers.
pub(super) struct Rack {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) clouds: Clouds,
}

/// Who asks in tests.
pub(super) fn root() -> Caller {
    Caller::at_socket(0, None, None).unwrap()
}

/// A disk with something on it.
pub(super) fn disk(name: &str, gib: u64, what: Signature) -> Disk {
    let part = Finding { partition: None, at: 0, what, label: None, id: None };
    Disk {
        name: name.into(),
        size_bytes: gib << 30,
        serial: Some(format!("serial-{name}")),
        content: Content::Found { parts: vec![part] },
        ..Disk::default()
    }
}

/// What an inspection finds.
pub(super) fn inventory() -> Inventory {
    Inventory {
        cpu: Cpu {
            count: 8,
            architecture: "x86_64".into(),
            model: String::new(),
            virtualisation: true,
        },
        memory_bytes: 64 << 30,
        disks: vec![disk("sda", 480, Signature::Ext), disk("sdb", 4000, Signature::CephBlueStore)],
        nics: Vec::new(),
        system: System {
            vendor: String::new(),
            product: String::new(),
            serial: String::new(),
            firmware_version: String::new(),
            boot_mode: undercloud_model::BootMode::Uefi,
        },
        datapath: undercloud_model::inventory::Datapath::default(),
    }
}

/// Two machines of metal, enrolled, and all images.
pub(super) async fn rack() -> Rack {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap();
    let store = Store::open(path.join("db"), Open::at(1)).await.unwrap();
    let range = ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: "192.168.24.10".parse().unwrap(),
        last: "192.168.24.20".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    for (number, name) in [(1, "controller-0"), (2, "compute-0")] {
        let new = RawNode {
            name: name.into(),
            bmc_address: format!("192.0.2.{number}"),
            bmc_user: "admin".into(),
            bmc_password: Secret::new("correct horse 16"),
            macs: vec![format!("52:54:00:00:00:0{number}")],
            ..RawNode::default()
        };
        store.enrol_node(NewNode::try_from(new).unwrap(), 1).await.unwrap();
    }
    let piece = Piece { digest: Digest::from_bytes([1; 32]), size: 1 };
    let image = |name: &&str| ContainerImage {
        name: (*name).to_owned(),
        manifest: piece,
        config: piece,
        layers: Vec::new(),
        size: 1,
        inputs: piece.digest,
        built_at: 1,
    };
    let images: Vec<ContainerImage> = Definitions::shipped_images().iter().map(image).collect();
    let rows: Vec<_> = images.iter().map(|i| (i.name.as_str(), piece.digest, i)).collect();
    store.put_container_images(&rows, 1).await.unwrap();
    let state = StateDir::new(dir.path()).unwrap();
    state.create().unwrap();
    let authority = Authority::open(&path.join("pki"), 1).unwrap();
    let clouds = Clouds::new(&state, store.clone(), authority.into());
    Rack { dir, store, clouds }
}

/// Their links, as a lab knows them.
pub(super) fn nics() -> LabNics {
    let links = |n: u8| {
        BTreeMap::from([
            ("internal".to_owned(), MacAddr::from_bytes([2, 0, 0, 0, 1, n])),
            ("external".to_owned(), MacAddr::from_bytes([2, 0, 0, 0, 2, n])),
        ])
    };
    let names = [("controller-0", 1), ("compute-0", 2)];
    names.map(|(name, n)| (name.parse().unwrap(), links(n))).into()
}
