//! Tests of the config drive's writer.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn drive() -> ConfigDrive {
    let mut drive = ConfigDrive::new();
    drive.meta_data(&json!({"uuid": "0", "hostname": "controller-0"}));
    drive.network_data(&json!({"links": [], "networks": [], "services": []}));
    drive.user_data("#!/bin/sh\n");
    drive.file("undercloud/agent.json", "{}").unwrap();
    drive
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Walks the tree of the descriptor in `sector` as a reader does; names as they stand there.
fn walk(iso: &[u8], sector: usize) -> BTreeMap<String, Vec<u8>> {
    let joliet = iso[sector * 2048] == 2;
    let mut found = BTreeMap::new();
    let root = sector * 2048 + 156;
    let mut todo = vec![(String::new(), u32_at(iso, root + 2), u32_at(iso, root + 10))];
    while let Some((path, sector, bytes)) = todo.pop() {
        let dir = &iso[sector * 2048..][..bytes];
        let mut at = 0;
        while at < dir.len() {
            let length = usize::from(dir[at]);
            if length == 0 {
                at = (at + 1).next_multiple_of(2048);
                continue;
            }
            let name = &dir[at + 33..][..usize::from(dir[at + 32])];
            let (sector, bytes) = (u32_at(dir, at + 2), u32_at(dir, at + 10));
            let is_dir = dir[at + 25] & 2 != 0;
            at += length;
            if name.len() == 1 {
                continue;
            }
            let name = if joliet {
                let units = name.chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]]));
                String::from_utf16(&units.collect::<Vec<_>>()).unwrap()
            } else {
                String::from_utf8(name.to_vec()).unwrap()
            };
            let name = format!("{path}{}", name.trim_end_matches(";1"));
            if is_dir {
                todo.push((format!("{name}/"), sector, bytes));
            } else {
                found.insert(name, iso[sector * 2048..][..bytes].to_vec());
            }
        }
    }
    found
}

#[test]
fn both_trees_lead_to_the_files() {
    let drive = drive();
    let iso = drive.to_iso().unwrap();
    assert_eq!(iso.len() % 2048, 0);
    assert_eq!(u32_at(&iso, 16 * 2048 + 80) * 2048, iso.len());
    assert_eq!(&iso[16 * 2048 + 40..][..10], b"config-2  ");
    assert_eq!(&walk(&iso, 17), drive.files());
    let plain = walk(&iso, 16);
    let upper = plain["OPENSTACK/LATEST/META_DATA.JSON"].clone();
    assert_eq!(upper, drive.files()["openstack/latest/meta_data.json"]);
    assert_eq!(plain["OPENSTACK/LATEST/USER_DATA."], b"#!/bin/sh\n");
}

#[test]
fn the_same_files_give_the_same_bytes() {
    assert_eq!(drive().to_iso().unwrap(), drive().to_iso().unwrap());
}

#[test]
fn paths_that_cannot_be_there_are_refused() {
    for bad in ["", "/a", "a//b", "..", "a/../b", "ä", "a b", "1/2/3/4/5/6/7/8"] {
        let result = ConfigDrive::new().file(bad, "").map(|_| ());
        assert!(matches!(result, Err(ConfigDriveError::Path(_))), "{bad:?}");
    }
    let mut drive = ConfigDrive::new();
    drive.file("a", "").unwrap().file("A", "").unwrap();
    assert!(matches!(drive.to_iso(), Err(ConfigDriveError::Twice(_))));
    let mut drive = ConfigDrive::new();
    drive.file("a", "").unwrap().file("a/b", "").unwrap();
    assert!(matches!(drive.to_iso(), Err(ConfigDriveError::Twice(_))));
    let mut drive = ConfigDrive::new();
    drive.user_data(vec![0u8; 65 << 20]);
    assert_eq!(drive.to_iso(), Err(ConfigDriveError::TooLarge));
}

#[test]
fn blkid_finds_the_label() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drive.iso");
    std::fs::write(&path, drive().to_iso().unwrap()).unwrap();
    let out = std::process::Command::new("/usr/sbin/blkid")
        .args(["-p", "-s", "LABEL", "-s", "TYPE", "-o", "export"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("LABEL=config-2") && text.contains("TYPE=iso9660"), "{text}");
}

proptest! {
    #[test]
    fn any_files_are_found_again_or_refused(
        files in proptest::collection::btree_map("[a-z]{1,3}(/[a-z._-]{1,30}){0,3}", any::<Vec<u8>>(), 0..60),
    ) {
        let mut drive = ConfigDrive::new();
        for (path, content) in files {
            let _ = drive.file(&path, content);
        }
        if let Ok(iso) = drive.to_iso() {
            prop_assert_eq!(&walk(&iso, 17), drive.files());
        }
    }
}
