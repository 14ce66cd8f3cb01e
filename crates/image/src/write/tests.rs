//! Tests of the disk writer.

use std::{cell::Cell, io::Cursor};

use proptest::prelude::*;

use super::*;
use crate::gpt::{ALIGN_SECTORS, TYPE_ROOT_X86_64};

const MIB: u64 = 1 << 20;

/// An image of 12 MiB: table, a root partition with data, zeros and data again.
fn image() -> Vec<u8> {
    let id = |n: u8| Guid::from_digest(&digest_of(&[n]));
    let mut table = Table::new(id(1), 12 * MIB).unwrap();
    table.push(TYPE_ROOT_X86_64, id(2), "root", 10 * ALIGN_SECTORS).unwrap();
    let mut bytes = vec![0u8; 12 << 20];
    table.write_head(&mut bytes).unwrap();
    bytes[..440].fill(0xeb);
    bytes[1 << 20..3 << 20].fill(0x11);
    bytes[(8 << 20) + 5] = 0x22;
    bytes
}

fn packed(image: &[u8], encoding: Encoding) -> (Vec<u8>, WriteRequest<'static>) {
    let wire = match encoding {
        Encoding::Plain => image.to_vec(),
        Encoding::Zstd => {
            let mut wire = Vec::new();
            frames::compress(image, &mut wire, 1, 2).unwrap();
            wire
        }
    };
    let request = WriteRequest {
        encoding,
        digest: digest_of(&wire),
        size: wire.len() as u64,
        content_size: image.len() as u64,
        config_drive: None,
    };
    (wire, request)
}

/// A disk full of what was on it before.
fn disk(mib: usize) -> File {
    let disk = tempfile::tempfile().unwrap();
    disk.write_all_at(&vec![0xaa; mib << 20], 0).unwrap();
    disk
}

fn read(disk: &File, at: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; n];
    disk.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn the_disk_holds_the_image_the_grown_root_and_the_config_drive() {
    for encoding in [Encoding::Plain, Encoding::Zstd] {
        let image = image();
        let (wire, mut request) = packed(&image, encoding);
        let drive = vec![0x77u8; 300_000];
        request.config_drive = Some(&drive);
        let disk = disk(40);
        let written = write_image(Cursor::new(wire), &disk, 40 * MIB, &request, &mut go).unwrap();
        assert_eq!(written.zeroed_bytes + written.data_bytes, 12 * MIB);
        assert!(written.zeroed_bytes >= 7 * MIB);
        assert!(read(&disk, MIB, 11 << 20) == image[1 << 20..]);
        let head = read(&disk, 0, 1 << 20);
        assert!(head[..440] == image[..440]);
        let table = Table::parse(&head).unwrap();
        assert_eq!(Some(&table), written.table.as_ref());
        assert!(table.by_name("root").unwrap().size_bytes() > 36 * MIB);
        let place = table.by_name(CONFIG_DRIVE_NAME).unwrap();
        assert!(read(&disk, place.offset_bytes(), drive.len()) == drive);
        let (at, tail) = table.tail();
        assert!(read(&disk, at, tail.len()) == tail);
    }
}

#[test]
fn a_wrong_digest_leaves_a_disk_without_a_table() {
    let (mut wire, request) = packed(&image(), Encoding::Plain);
    wire[(9 << 20) + 1] ^= 1;
    let disk = disk(20);
    let err = write_image(Cursor::new(wire), &disk, 20 * MIB, &request, &mut go).unwrap_err();
    assert!(matches!(err, WriteError::Digest { .. }), "{err}");
    assert_eq!(read(&disk, 0, 1 << 20), vec![0u8; 1 << 20]);
    assert_eq!(read(&disk, 19 * MIB, 1 << 20), vec![0u8; 1 << 20]);
}

#[test]
fn a_stream_that_is_short_long_or_broken_leaves_a_disk_without_a_table() {
    for encoding in [Encoding::Plain, Encoding::Zstd] {
        let (wire, request) = packed(&image(), encoding);
        let short = wire[..wire.len() - 1].to_vec();
        let mut long = wire.clone();
        long.extend_from_slice(&wire);
        let mut garbled = wire.clone();
        garbled[40] ^= 0xff;
        for bad in [short, long, garbled, Vec::new()] {
            let disk = disk(20);
            let result = write_image(Cursor::new(bad), &disk, 20 * MIB, &request, &mut go);
            assert!(result.is_err());
            assert_eq!(read(&disk, 0, 4096), vec![0u8; 4096]);
        }
    }
}

#[test]
fn a_disk_that_is_too_small_is_not_touched() {
    let (wire, request) = packed(&image(), Encoding::Plain);
    let disk = disk(11);
    let err = write_image(Cursor::new(wire), &disk, 11 * MIB, &request, &mut go).unwrap_err();
    assert!(matches!(err, WriteError::DiskTooSmall { need, .. } if need == 12 * MIB));
    assert!(read(&disk, 0, 11 << 20).iter().all(|b| *b == 0xaa));
}

#[test]
fn a_config_drive_needs_a_table() {
    let (wire, mut request) = packed(&vec![1u8; 3 << 20], Encoding::Plain);
    let plain = disk(10);
    let written = write_image(Cursor::new(&wire), &plain, 10 * MIB, &request, &mut go).unwrap();
    assert_eq!(written.table, None);
    assert!(read(&plain, 0, 3 << 20).iter().all(|b| *b == 1));
    request.config_drive = Some(b"drive");
    let err = write_image(Cursor::new(&wire), &plain, 10 * MIB, &request, &mut go).unwrap_err();
    assert!(matches!(err, WriteError::Table(GptError::NoTable)), "{err}");
}

#[test]
fn the_caller_can_stop_it_and_sees_how_far_it_is() {
    let (wire, request) = packed(&image(), Encoding::Zstd);
    let disk = disk(20);
    let seen = Cell::new(0);
    let mut stop = |p: Progress| {
        seen.set(p.done);
        if p.done >= 4 * MIB { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let err = write_image(Cursor::new(wire), &disk, 20 * MIB, &request, &mut stop).unwrap_err();
    assert!(matches!(err, WriteError::Cancelled));
    assert_eq!(seen.get(), 4 * MIB);
    assert_eq!(read(&disk, 0, 4096), vec![0u8; 4096]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_is_zero_in_the_image_is_zero_on_the_disk(
        pieces in proptest::collection::vec((any::<bool>(), 1usize..3_000_000), 1..6),
    ) {
        let mut image = vec![5u8; 1 << 20];
        for (data, length) in pieces {
            image.resize(image.len() + length, u8::from(data));
        }
        let (wire, request) = packed(&image, Encoding::Zstd);
        let disk = disk(20);
        write_image(Cursor::new(wire), &disk, 20 * MIB, &request, &mut go).unwrap();
        prop_assert!(read(&disk, 0, image.len()) == image);
    }
}
