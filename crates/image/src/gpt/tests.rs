//! Tests of partition tables.

use proptest::prelude::*;

use super::*;
use crate::digest_of;

const MIB: u64 = 1 << 20;

fn id(n: u8) -> Guid {
    Guid::from_digest(&digest_of(&[n]))
}

fn sample() -> Table {
    let mut table = Table::new(id(0), 100 * MIB).unwrap();
    table.push(TYPE_BIOS_BOOT, id(1), "bios", ALIGN_SECTORS).unwrap();
    table.push(TYPE_ESP, id(2), "esp", 16 * ALIGN_SECTORS).unwrap();
    table.push(TYPE_ROOT_X86_64, id(3), "root", 64 * ALIGN_SECTORS).unwrap();
    table
}

fn head(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0x90; usize::try_from(HEAD_BYTES).unwrap()];
    table.write_head(&mut bytes).unwrap();
    bytes
}

#[test]
fn guids_are_stored_with_their_first_three_fields_reversed() {
    // UEFI 2.10, table 5.7: the EFI system partition's type as text, and as sgdisk writes it.
    assert_eq!(TYPE_ESP.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    let on_disk = [40, 115, 42, 193, 31, 248, 210, 17, 186, 75, 0, 160, 201, 62, 201, 59];
    assert_eq!(TYPE_ESP.to_disk(), on_disk);
    assert_eq!("C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse(), Ok(TYPE_ESP));
    assert!("C12A7328-F81F-11D2-BA4B00-A0C93EC93B".parse::<Guid>().is_err());
}

#[test]
fn what_is_written_is_read_and_the_boot_code_stays() {
    let table = sample();
    let bytes = head(&table);
    assert_eq!(Table::parse(&bytes).unwrap(), table);
    assert!(bytes[..446].iter().all(|b| *b == 0x90));
    let root = table.by_name("root").unwrap();
    assert_eq!((root.offset_bytes(), root.size_bytes(), root.index), (18 * MIB, 64 * MIB, 2));
}

#[test]
fn the_copy_at_the_end_is_the_same_table_seen_from_there() {
    let table = sample();
    let (offset, tail) = table.tail();
    assert_eq!(offset + tail.len() as u64, 100 * MIB);
    let bytes = head(&table);
    assert_eq!(bytes[1024..], tail[..16384]);
    let header = &tail[16384..];
    assert_eq!(header[24..32], (100 * MIB / 512 - 1).to_le_bytes());
    assert_eq!(header[32..40], 1u64.to_le_bytes());
}

#[test]
fn on_a_bigger_disk_the_last_partition_grows_and_leaves_room_for_another() {
    let mut table = sample();
    table.fit_to(1000 * MIB).unwrap();
    table.grow_last(2 * MIB).unwrap();
    let drive = table.push_at_end(TYPE_LINUX, id(4), "config-2", MIB).unwrap().clone();
    assert_eq!(drive.size_bytes(), MIB);
    assert!(drive.last <= 1000 * MIB / 512 - 34);
    let root = table.by_name("root").unwrap();
    assert!(root.size_bytes() > 970 * MIB && root.last < drive.first);
    assert_eq!(Table::parse(&head(&table)).unwrap(), table);
}

#[test]
fn a_smaller_disk_is_refused_with_what_it_lacks() {
    let mut table = sample();
    let err = table.fit_to(50 * MIB).unwrap_err();
    assert_eq!(err, GptError::DiskTooSmall { need: 82 * MIB + TAIL_BYTES, disk: 50 * MIB });
    assert_eq!(table, sample());
    let err = table.push_at_end(TYPE_LINUX, id(4), "x", 90 * MIB).unwrap_err();
    assert!(matches!(err, GptError::NoRoom { .. }));
    assert!(table.push(TYPE_LINUX, id(4), "x", u64::MAX).is_err());
    assert!(table.push(TYPE_LINUX, id(4), &"x".repeat(37), 1).is_err());
}

#[test]
fn every_changed_byte_of_header_and_entries_is_noticed() {
    let good = head(&sample());
    for at in (512..604).chain(1024..1024 + 3 * 128) {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        assert!(Table::parse(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn overlapping_and_outlying_partitions_are_refused() {
    let mut table = sample();
    table.partitions[1].first = table.partitions[0].last;
    assert_eq!(Table::parse(&head(&table)), Err(GptError::Overlap(1, 2)));
    let mut table = sample();
    table.partitions[2].last = 100 * MIB / 512;
    assert_eq!(Table::parse(&head(&table)), Err(GptError::Outside(3)));
}

/// Puts right CRCs under whatever header and entries the bytes hold.
fn seal(bytes: &mut [u8]) {
    let entries = crc32fast::hash(&bytes[1024..1024 + 16384]);
    bytes[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
    bytes[528..532].fill(0);
    let crc = crc32fast::hash(&bytes[512..604]);
    bytes[528..532].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Table::parse(&bytes);
    }

    #[test]
    fn no_field_with_a_right_crc_makes_it_panic(
        changes in proptest::collection::vec((24usize..92, any::<u8>()), 0..6),
        entry in proptest::collection::vec((0usize..512, any::<u8>()), 0..16),
        disk in any::<u64>(),
        reserve in any::<u64>(),
    ) {
        let mut bytes = head(&sample());
        for (at, value) in changes {
            bytes[512 + at] = value;
        }
        for (at, value) in entry {
            bytes[1024 + at] = value;
        }
        seal(&mut bytes);
        if let Ok(mut table) = Table::parse(&bytes) {
            prop_assert_eq!(&Table::parse(&head(&table)).unwrap(), &table);
            if table.fit_to(disk).is_ok() {
                let _ = table.grow_last(reserve);
                let _ = table.push_at_end(TYPE_LINUX, id(9), "config-2", reserve);
                let (offset, tail) = table.tail();
                prop_assert!(offset + tail.len() as u64 <= disk);
                prop_assert_eq!(Table::parse(&head(&table)).unwrap(), table);
            }
        }
    }

    #[test]
    fn any_head_that_parses_after_sealing_stays_sane(
        bytes in proptest::collection::vec(any::<u8>(), 17408..17409),
    ) {
        let mut bytes = bytes;
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[524..528].copy_from_slice(&92u32.to_le_bytes());
        seal(&mut bytes);
        let _ = Table::parse(&bytes);
    }
}
