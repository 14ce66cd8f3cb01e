//! The CD as firmware, a loader and a driver of its file system read it.

use std::io::Cursor;

use super::{
    super::{IDENTITY_BYTES, IDENTITY_OFFSET, Template, identity},
    *,
};

fn cd() -> (Vec<u8>, Vec<u8>) {
    let bios: Vec<u8> = (0..40_001u32).map(|i| i.to_le_bytes()[0]).collect();
    let parts = Parts {
        hybrid: &[7; 512],
        bios: &bios,
        efi: &[8; 1 << 20],
        kernel: b"the kernel",
        ramdisk: &[9; 5000],
    };
    (write(&parts).unwrap(), bios)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Reads a file as any driver of the file system would: descriptor, root directory, record.
fn file<'c>(cd: &'c [u8], name: &str) -> &'c [u8] {
    let root = &cd[16 * SECTOR + 156..];
    let mut at = u32_at(root, 2) as usize * SECTOR;
    while cd[at] != 0 {
        let record = &cd[at..at + usize::from(cd[at])];
        if &record[33..33 + usize::from(record[32])] == name.as_bytes() {
            let start = u32_at(record, 2) as usize * SECTOR;
            return &cd[start..start + u32_at(record, 10) as usize];
        }
        at += record.len();
    }
    panic!("no {name}");
}

#[test]
fn the_files_are_found_by_their_directory() {
    let (cd, _) = cd();
    assert_eq!(cd.len() % SECTOR, 0);
    assert!(cd.ends_with(&[0; 150 * SECTOR]), "a loader may read ahead");
    assert_eq!(u32_at(&cd, 16 * SECTOR + 80) as usize, cd.len() / SECTOR);
    assert_eq!(file(&cd, "KERNEL.;1"), b"the kernel");
    assert_eq!(file(&cd, "RAMDISK.;1"), [9; 5000]);
    assert_eq!(file(&cd, "IDENTITY.;1").len(), IDENTITY_BYTES);
    assert_eq!(&cd[16 * SECTOR + 40..][..10], b"BM_DEPLOY ");
}

#[test]
fn firmware_finds_a_loader_of_its_kind() {
    let (cd, bios) = cd();
    let record = &cd[17 * SECTOR..18 * SECTOR];
    assert_eq!(&record[1..6], b"CD001");
    let catalog = &cd[u32_at(record, 71) as usize * SECTOR..];
    let sum = catalog[..32]
        .chunks(2)
        .fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(word.try_into().unwrap())));
    assert_eq!((sum, &catalog[30..32]), (0, &[0x55, 0xaa][..]));
    assert_eq!((catalog[1], catalog[65]), (0, 0xef), "80x86 first, then a section for UEFI");
    let image = |at: usize| u32_at(catalog, at + 8) as usize * SECTOR;
    let blocks = |at: usize| u16::from_le_bytes([catalog[at + 6], catalog[at + 7]]);
    let found = &cd[image(32)..][..bios.len()];
    assert_eq!(blocks(32), 4);
    // The loader is told where it is.
    assert_eq!(u32_at(found, 8), 16);
    assert_eq!(u32_at(found, 12) as usize * SECTOR, image(32));
    assert_eq!(u32_at(found, 16) as usize, bios.len().next_multiple_of(512));
    assert_eq!((&found[64..2548], &found[2556..]), (&bios[64..2548], &bios[2556..]));
    assert_eq!(&cd[image(96)..][..1 << 20], [8; 1 << 20]);
    assert_eq!(blocks(96), 2048);
}

#[test]
fn a_stick_begins_with_code_and_has_a_partition_for_uefi() {
    let (cd, _) = cd();
    let catalog = &cd[CATALOG as usize * SECTOR..];
    let (bios, efi) = (u64::from(u32_at(catalog, 40)) * 4, u32_at(catalog, 104) * 4);
    assert_eq!(cd[0x1b0..0x1b8], (bios + 4).to_le_bytes());
    assert_eq!((cd[446], cd[450]), (0x80, 0xef));
    assert_eq!((u32_at(&cd, 454), u32_at(&cd, 458)), (efi, 2048));
    assert_eq!(cd[510..512], [0x55, 0xaa]);
    // What that code loads says what to load next.
    let list = usize::try_from(bios).unwrap() * 512 + 2548;
    assert_eq!(cd[list..list + 8], (bios + 5).to_le_bytes());
}

#[test]
fn only_a_cd_of_ours_has_a_place_for_an_identity() {
    let (mut cd, _) = cd();
    Template::of(&mut Cursor::new(&cd)).unwrap();
    let place = usize::try_from(IDENTITY_OFFSET).unwrap();
    assert_eq!(file(&cd, "IDENTITY.;1"), &cd[place..place + IDENTITY_BYTES]);
    cd[place] ^= 1;
    let foreign = Template::of(&mut Cursor::new(&cd)).unwrap_err();
    assert!(matches!(foreign, DeployIsoError::Foreign), "{foreign}");
    assert!(Template::of(&mut Cursor::new(&cd[..place])).is_err());
}

#[test]
fn what_is_too_large_is_refused() {
    assert_eq!(identity(b"070701").unwrap().len(), IDENTITY_BYTES);
    assert!(identity(&vec![0; IDENTITY_BYTES + 1]).is_err());
    let parts = Parts { hybrid: &[0; 512], bios: &[0; 4096], efi: &[], kernel: &[], ramdisk: &[] };
    write(&parts).unwrap();
    assert!(write(&Parts { hybrid: &[0; 440], ..parts }).is_err());
    assert!(write(&Parts { bios: &[0; 512], ..parts }).is_err());
    assert!(write(&Parts { efi: &vec![0; 64 << 20], ..parts }).is_err());
}
