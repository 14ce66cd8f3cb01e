//! Every state with every event, in a table; then random lives with invariants.

mod random;
mod table;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    BootMode, Content, Digest, NodeId, RootDeviceHints, StepId, UnixMillis,
    agent::{DiskIdentity, ImageEncoding, ImageSource, StepResult, WipeReceipt, WriteReceipt},
    consent::WipeScope,
    inventory::{Cpu, Datapath, Disk, Inventory, Nic, System},
};

pub(super) const NOW: UnixMillis = 1_000_000_000;

pub(super) fn node() -> Node {
    Node {
        id: NodeId::from_uuid(uuid::Uuid::from_u128(7)),
        name: "compute-0".parse().unwrap(),
        version: 1,
        visit: 0,
        driver: Driver::Ipmi,
        boot_interface: BootInterface::Ipxe,
        bmc: BmcAddress {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 6230,
            user: "admin".into(),
            redfish: None,
        },
        ports: vec![Port {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            address: "192.168.24.10/24".parse().unwrap(),
        }],
        boot_mode: BootMode::Uefi,
        properties: Properties::default(),
        root_device: RootDeviceHints::default(),
        wipe: WipeScope::default(),
        booted_again: false,
        resource_class: "baremetal".into(),
        inventory: None,
        state: ProvisionState::Enroll,
        target: None,
        state_since: NOW,
        phase: Phase::Idle,
        deadline: None,
        power: None,
        power_seen_at: None,
        target_power: None,
        maintenance: None,
        last_error: None,
        instance: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(super) fn inventory() -> Inventory {
    Inventory {
        cpu: Cpu {
            count: 2,
            architecture: "x86_64".into(),
            model: "EPYC".into(),
            virtualisation: true,
        },
        memory_bytes: 4 << 30,
        disks: vec![Disk {
            name: "vda".into(),
            size_bytes: 20 << 30,
            serial: Some("disk-0".into()),
            content: Content::EMPTY,
            ..Disk::default()
        }],
        nics: vec![Nic {
            name: "eth0".into(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            link: true,
            speed_mbps: None,
        }],
        system: System {
            vendor: String::new(),
            product: String::new(),
            serial: String::new(),
            firmware_version: String::new(),
            boot_mode: BootMode::Uefi,
        },
        datapath: Datapath::Kernel,
    }
}

pub(super) fn disk() -> DiskIdentity {
    DiskIdentity {
        name: "vda".into(),
        serial: Some("disk-0".into()),
        wwn: None,
        size_bytes: 20 << 30,
    }
}

pub(super) fn request() -> DeployRequest {
    DeployRequest {
        image: InstanceImage {
            name: "overcloud-full".into(),
            source: ImageSource {
                blob: Digest::from_bytes([1; 32]),
                encoding: ImageEncoding::Zstd,
                disk_bytes: 4 << 30,
                disk_digest: Digest::from_bytes([2; 32]),
            },
            min_disk_bytes: 8 << 30,
            has_agent: true,
        },
        hostname: None,
        ssh_keys: Vec::new(),
        user_data: None,
        network_data: None,
    }
}

pub(super) fn receipt() -> WriteReceipt {
    WriteReceipt {
        disk: disk(),
        disk_digest: Digest::from_bytes([2; 32]),
        written_bytes: 4 << 30,
        took_ms: 12_000,
    }
}

/// What an honest agent answers.
pub(super) fn result_of(work: &Work) -> StepResult {
    match work {
        Work::Inspect => StepResult::Inspect(inventory()),
        Work::Wipe { disks } => {
            let receipt =
                |disk: &DiskIdentity| WipeReceipt { disk: disk.clone(), zeroed_bytes: 2 << 20 };
            StepResult::WipeDisks { disks: disks.iter().map(receipt).collect() }
        }
        Work::Write { .. } => StepResult::WriteImage(receipt()),
    }
}

pub(super) fn step_id() -> StepId {
    StepId::from_uuid(uuid::Uuid::from_u128(42))
}

pub(super) fn ctx(policy: &Policy) -> Context<'_> {
    Context {
        policy,
        now: NOW,
        listening_since: 0,
        ramdisk_seen_at: None,
        boot_progress: BootProgress::Silent,
        boot_opened_at: None,
    }
}
