//! No order that erases is put down that nobody agreed to.

use undercloud_model::{
    Caller, Content, Digest, Finding, Signature,
    agent::DiskIdentity,
    consent::NotApproved,
    inventory::{Cpu, Disk, Nic, System},
};

use super::*;

fn disk(name: &str, serial: Option<&str>, what: Signature) -> Disk {
    let part = Finding { partition: None, at: 0, what, label: None, id: None };
    Disk {
        name: name.into(),
        size_bytes: 20 << 30,
        serial: serial.map(str::to_owned),
        content: Content::Found { parts: vec![part] },
        ..Disk::default()
    }
}

fn inventory(disks: Vec<Disk>) -> Inventory {
    Inventory {
        cpu: Cpu {
            count: 1,
            architecture: "x86_64".into(),
            model: String::new(),
            virtualisation: false,
        },
        memory_bytes: 1 << 30,
        disks,
        nics: Vec::<Nic>::new(),
        system: System {
            vendor: String::new(),
            product: String::new(),
            serial: String::new(),
            firmware_version: String::new(),
            boot_mode: undercloud_model::BootMode::Bios,
        },
        datapath: undercloud_model::inventory::Datapath::default(),
    }
}

/// Metal with these disks, inspected.
async fn inspected(store: &Store, disks: &[Disk]) -> Node {
    let node = store.enrol_node(new("compute-0", &[1]), NOW).await.unwrap();
    let inventory = Some(inventory(disks.to_vec()));
    let next = Next::to(&node, ProvisionState::Manageable, NOW).with(|n| n.inventory = inventory);
    turn(store, &node, &next).await.unwrap()
}

async fn wipe(store: &Store, node: &Node, key: &str, disk: &Disk) -> Result<(), StoreError> {
    let step = Step::WipeDisks { disks: vec![disk.identity()] };
    store.put_order(node.id, AgentKind::Ramdisk, key, &step, None, NOW).await.map(drop)
}

async fn agree(store: &Store, node: &Node, disk: &Disk) -> Result<(), StoreError> {
    let agreement = Agreement {
        node: node.id,
        disks: vec![disk.clone()],
        plan: Digest::from_bytes([7; 32]),
        by: Caller::at_socket(0, None, None).unwrap(),
    };
    store.approve(&[agreement], NOW).await
}

#[tokio::test]
async fn an_order_that_erases_is_refused_and_leaves_nothing_behind() {
    let Db { dir: _dir, store } = db().await;
    let (system, data) =
        (disk("sda", Some("a"), Signature::Ext), disk("sdb", Some("b"), Signature::Lvm));
    let node = inspected(&store, &[system.clone(), data.clone()]).await;
    let refused = wipe(&store, &node, "1", &system).await.unwrap_err();
    assert_eq!(refused.kind(), undercloud_model::ErrorKind::Denied);
    assert!(matches!(refused, StoreError::NotApproved { why: NotApproved::Nobody { .. }, .. }));
    assert_eq!(store.find_order(node.id, "1").await.unwrap(), None);
    agree(&store, &node, &system).await.unwrap();
    let refused = wipe(&store, &node, "1", &data).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotApproved { why: NotApproved::OtherDisk { .. }, .. }));
    wipe(&store, &node, "1", &system).await.unwrap();
    let stranger = disk("sdc", Some("c"), Signature::Ext);
    let refused = wipe(&store, &node, "2", &stranger).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotApproved { why: NotApproved::NotSeen { .. }, .. }));
    store.set_own_machines(&["52:54:00:00:00:01".parse().unwrap()]).await.unwrap();
    wipe(&store, &node, "3", &data).await.unwrap();
}

#[tokio::test]
async fn what_was_erased_is_ours_until_it_is_empty_and_then_it_must_stay_so() {
    let Db { dir: _dir, store } = db().await;
    let system = disk("sda", Some("a"), Signature::Ext);
    let node = inspected(&store, std::slice::from_ref(&system)).await;
    agree(&store, &node, &system).await.unwrap();
    wipe(&store, &node, "1", &system).await.unwrap();
    let content = async || store.approvals(node.id).await.unwrap().remove(0).content;
    assert_eq!(content().await, None);
    let next = Next::to(&node, ProvisionState::Available, NOW)
        .effect(Effect::DisksAreEmpty)
        .with(|n| n.inventory.as_mut().unwrap().disks[0].content = Content::EMPTY);
    let node = turn(&store, &node, &next).await.unwrap();
    assert_eq!(content().await, Some(Content::EMPTY));
    // Half of a write is ours too.
    wipe(&store, &node, "2", &system).await.unwrap();
    assert_eq!(content().await, None);
    let next = Next::to(&node, ProvisionState::Manageable, NOW).effect(Effect::EndApprovals);
    turn(&store, &node, &next).await.unwrap();
    assert!(store.approvals(node.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_serial_number_the_name_and_the_size_tell() {
    let Db { dir: _dir, store } = db().await;
    let (one, other) = (disk("vda", None, Signature::Ext), disk("vdb", None, Signature::Ext));
    let node = inspected(&store, &[one.clone(), other.clone()]).await;
    agree(&store, &node, &one).await.unwrap();
    assert!(wipe(&store, &node, "1", &other).await.is_err());
    wipe(&store, &node, "2", &one).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_could_not_be_looked_at_cannot_be_agreed_to() {
    let Db { dir: _dir, store } = db().await;
    let unseen = Disk { content: Content::NotLooked, ..disk("sda", Some("a"), Signature::Ext) };
    let node = inspected(&store, std::slice::from_ref(&unseen)).await;
    assert!(matches!(agree(&store, &node, &unseen).await, Err(StoreError::NotApproved { .. })));
    let next = Next::to(&node, ProvisionState::Active, NOW);
    let node = turn(&store, &node, &next).await.unwrap();
    let refused = agree(&store, &node, &unseen).await.unwrap_err();
    assert!(refused.to_string().contains("nothing can be erased now"), "{refused}");
}

#[tokio::test]
async fn what_was_written_before_there_were_approvals_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let written = disk("sda", Some("a"), Signature::Gpt).identity();
    {
        let pool = crate::db::of_earlier_version(&file(&dir), 4).await;
        let record = serde_json::json!({
            "driver": "ipmi", "bmc": { "address": "127.0.0.1", "port": 623, "user": "admin" },
            "boot_mode": "bios", "properties": { "capabilities": {} }, "root_device": {},
            "resource_class": "baremetal", "inventory": null, "last_error": null,
            "instance": {
                "request": { "image": {
                    "name": "overcloud-full", "min_disk_bytes": 1, "has_agent": true,
                    "source": {
                        "blob": Digest::from_bytes([1; 32]), "encoding": "zstd", "disk_bytes": 1,
                        "disk_digest": Digest::from_bytes([2; 32]),
                    },
                } },
                "written": {
                    "disk": written, "disk_digest": Digest::from_bytes([2; 32]),
                    "written_bytes": 1, "took_ms": 1,
                },
                "reported_at": NOW,
            },
        });
        let insert =
            "INSERT INTO nodes (id, name, version, visit, state, state_since, phase, record,
                 bmc_password, created_at, updated_at)
             VALUES ($1, 'compute-0', 1, 1, 'active', 1, '{\"phase\":\"idle\"}', $2, 'x', 1, 1)";
        sqlx::query(insert)
            .bind("00000000-0000-4000-8000-000000000001")
            .bind(record.to_string())
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
    }
    let store = Store::open(file(&dir), Open::at(NOW)).await.unwrap();
    let node = store.node("compute-0").await.unwrap();
    assert_eq!(node.wipe, WipeScope::default());
    let approvals = store.approvals(node.id).await.unwrap();
    assert_eq!(approvals.len(), 1);
    assert_eq!((&approvals[0].disk, &approvals[0].content), (&written, &None::<Content>));
    let _: &DiskIdentity = &approvals[0].disk;
}
