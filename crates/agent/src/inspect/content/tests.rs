//! Signatures as each format's tools write them, on disks that are files.

use std::{fs, process::Command};

use proptest::prelude::*;
use undercloud_model::{Signature, inventory::Disk};

use super::*;
use crate::{inspect::disks, log::Log, steps::wipe::wipe};

const MIB: usize = 1 << 20;
const SIZE: usize = 16 * MIB;

fn machine(disk: &[u8], partitions: &[(usize, usize)]) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let file = |path: &str, content: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    file("dev/vda", disk);
    file("sys/class/block/vda/size", (disk.len() / 512).to_string().as_bytes());
    file("sys/class/block/vda/serial", b"disk-0");
    for (number, (start, length)) in (1..).zip(partitions) {
        let at = format!("sys/class/block/vda/vda{number}");
        file(&format!("{at}/partition"), format!("{number}").as_bytes());
        file(&format!("{at}/start"), (start / 512).to_string().as_bytes());
        file(&format!("{at}/size"), (length / 512).to_string().as_bytes());
    }
    let host = Host::below(dir.path());
    (dir, host)
}

fn seen(host: &Host) -> Disk {
    look(host, disks(host)).remove(0)
}

fn parts(disk: &[u8], partitions: &[(usize, usize)]) -> Vec<Finding> {
    let (_dir, host) = machine(disk, partitions);
    match seen(&host).content {
        Content::Found { parts } => parts,
        other => panic!("{other}"),
    }
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What is there, the bytes that show it with their places, its label and its id.
type Planted = (Signature, Vec<(usize, Vec<u8>)>, Option<&'static str>, Option<&'static str>);

/// Where each kind of data is known by: what is put there, and what is read then.
fn planted() -> Vec<Planted> {
    const UUID: [u8; 16] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 7];
    const AS_TEXT: Option<&str> = Some("01234567-89ab-cdef-0001-020304050607");
    let magic = 0xa92b_4efc_u32.to_le_bytes();
    let raid = |at: usize| {
        let one = 1u32.to_le_bytes().to_vec();
        vec![
            (at, magic.to_vec()),
            (at + 4, one),
            (at + 16, UUID.to_vec()),
            (at + 32, b"m:0".to_vec()),
        ]
    };
    vec![
        (
            Signature::Gpt,
            vec![(512, b"EFI PART".to_vec()), (512 + 56, UUID.to_vec())],
            None,
            Some("0123456789abcdef0001020304050607 00000000"),
        ),
        (
            Signature::CephBlueStore,
            vec![(0, b"bluestore block device\n01234567-89ab-cdef-0001-020304050607\n".to_vec())],
            None,
            AS_TEXT,
        ),
        (
            Signature::Luks,
            vec![
                (0, b"LUKS\xba\xbe\0\x02".to_vec()),
                (24, b"vault".to_vec()),
                (168, b"01234567-89ab-cdef-0001-020304050607\0".to_vec()),
            ],
            Some("vault"),
            AS_TEXT,
        ),
        (
            Signature::Lvm,
            vec![
                (512, b"LABELONE".to_vec()),
                (512 + 20, 32u32.to_le_bytes().to_vec()),
                (512 + 24, b"LVM2 001".to_vec()),
                (512 + 32, b"AbCdEfGhIjKlMnOpQrStUvWxYz012345".to_vec()),
            ],
            None,
            Some("AbCdEfGhIjKlMnOpQrStUvWxYz012345"),
        ),
        (Signature::LinuxRaid, raid(4096), Some("m:0"), AS_TEXT),
        (Signature::LinuxRaid, raid(0), Some("m:0"), AS_TEXT),
        (Signature::LinuxRaid, raid(SIZE - 8192), Some("m:0"), AS_TEXT),
        (
            Signature::LinuxRaid,
            vec![
                (SIZE - 65_536, magic.to_vec()),
                (SIZE - 65_536 + 20, b"\x01\x02\x03\x04".to_vec()),
            ],
            None,
            Some("01020304"),
        ),
        (
            Signature::IntelRaid,
            vec![(SIZE - 1024, b"Intel Raid ISM Cfg Sig. 1.3.00".to_vec())],
            None,
            Some("00000000"),
        ),
        (
            Signature::DdfRaid,
            vec![(SIZE - 512, b"\xde\x11\xde\x11".to_vec()), (SIZE - 504, vec![7; 24])],
            None,
            Some("070707070707070707070707070707070707070707070707"),
        ),
        (Signature::WindowsLdm, vec![(3072, b"PRIVHEAD".to_vec())], None, None),
        (Signature::Zfs, vec![(132 << 10, 0x00ba_b10c_u64.to_le_bytes().to_vec())], None, None),
        (
            Signature::Vmfs,
            vec![(MIB, 0xc001_d00d_u32.to_le_bytes().to_vec()), (MIB + 20, UUID.to_vec())],
            None,
            Some("0123456789abcdef0001020304050607"),
        ),
        (
            Signature::Bcache,
            vec![
                (
                    4096 + 24,
                    b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81".to_vec(),
                ),
                (4096 + 40, UUID.to_vec()),
                (4096 + 72, b"cache".to_vec()),
            ],
            Some("cache"),
            AS_TEXT,
        ),
        (
            Signature::Xfs,
            vec![(0, b"XFSB".to_vec()), (32, UUID.to_vec()), (108, b"data".to_vec())],
            Some("data"),
            AS_TEXT,
        ),
        (
            Signature::Btrfs,
            vec![
                (65_536 + 64, b"_BHRfS_M".to_vec()),
                (65_536 + 32, UUID.to_vec()),
                (65_536 + 299, b"pool".to_vec()),
            ],
            Some("pool"),
            AS_TEXT,
        ),
        (
            Signature::F2fs,
            vec![(1024, 0xf2f5_2010_u32.to_le_bytes().to_vec()), (1024 + 108, UUID.to_vec())],
            None,
            AS_TEXT,
        ),
        (
            Signature::Fat,
            vec![
                (82, b"FAT32   ".to_vec()),
                (67, b"\x78\x56\x34\x12".to_vec()),
                (71, b"ESP        ".to_vec()),
                (510, b"\x55\xaa".to_vec()),
            ],
            Some("ESP"),
            Some("78563412"),
        ),
        (Signature::ExFat, vec![(3, b"EXFAT   ".to_vec())], None, Some("00000000")),
        (
            Signature::Ntfs,
            vec![(3, b"NTFS    ".to_vec()), (510, b"\x55\xaa".to_vec())],
            None,
            Some("0000000000000000"),
        ),
        (
            Signature::Iso9660,
            vec![(32_769, b"CD001".to_vec()), (32_808, b"CONFIG-2   ".to_vec())],
            Some("CONFIG-2"),
            None,
        ),
    ]
}

#[test]
fn each_kind_is_recognised_with_its_name_and_its_id_and_is_gone_after_a_wipe() {
    for (what, bytes, label, id) in planted() {
        let mut disk = vec![0; SIZE];
        bytes.iter().for_each(|(at, bytes)| put(&mut disk, *at, bytes));
        let (dir, host) = machine(&disk, &[]);
        let Content::Found { parts } = seen(&host).content else { panic!("{what:?}") };
        let expected = Finding {
            partition: None,
            at: 0,
            what,
            label: label.map(str::to_owned),
            id: id.map(str::to_owned),
        };
        assert_eq!(parts, [expected], "{what:?}");
        wipe(&host, &[seen(&host).identity()], &Log::new(Vec::new())).unwrap();
        assert_eq!(seen(&host).content, Content::EMPTY, "{what:?}");
        drop(dir);
    }
}

#[test]
fn file_systems_that_debians_own_tools_made() {
    let make = |program: &str, arguments: &[&str]| {
        let (dir, host) = machine(&vec![0; SIZE], &[]);
        let disk = dir.path().join("dev/vda");
        let output = Command::new(program).args(arguments).arg(&disk).output();
        let output = output.unwrap_or_else(|e| panic!("{program} (e2fsprogs, util-linux): {e}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let Content::Found { mut parts } = seen(&host).content else { panic!() };
        assert_eq!(parts.len(), 1, "{parts:?}");
        parts.remove(0)
    };
    let uuid = "01234567-89ab-cdef-0001-020304050607";
    let ext = make("/usr/sbin/mke2fs", &["-q", "-t", "ext4", "-L", "root", "-U", uuid]);
    assert_eq!(
        (ext.what, ext.label.as_deref(), ext.id.as_deref()),
        (Signature::Ext, Some("root"), Some(uuid))
    );
    let swap = make("/usr/sbin/mkswap", &["-q", "-L", "swap0", "-U", uuid]);
    assert_eq!(
        (swap.what, swap.label.as_deref(), swap.id.as_deref()),
        (Signature::Swap, Some("swap0"), Some(uuid))
    );
}

#[test]
fn partitions_are_looked_into_one_by_one() {
    let mut disk = vec![0; SIZE];
    put(&mut disk, 446 + 4, &[0x83]);
    put(&mut disk, 510, &[0x55, 0xaa]);
    put(&mut disk, 4 * MIB, b"XFSB");
    put(&mut disk, 10 * MIB - 1, &[1]);
    let content =
        Content::Found { parts: parts(&disk, &[(MIB, MIB), (4 * MIB, MIB), (8 * MIB, 2 * MIB)]) };
    assert_eq!(content.to_string(), "MBR; partition 2: XFS; partition 3: unknown data");
}

#[test]
fn other_unknown_data_is_not_taken_for_the_same() {
    let with = |byte: u8| {
        let mut disk = vec![0; SIZE];
        disk[5] = byte;
        parts(&disk, &[])
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
    assert_eq!(with(0), []);
}

#[test]
fn a_file_system_on_the_whole_disk_is_no_partition_table() {
    let mut disk = vec![0; SIZE];
    put(&mut disk, 54, b"FAT16   ");
    put(&mut disk, 446, &[0x80, 1, 1, 0, 0x0c]);
    put(&mut disk, 510, &[0x55, 0xaa]);
    let found = parts(&disk, &[]);
    assert_eq!(found.iter().map(|part| part.what).collect::<Vec<_>>(), [Signature::Fat]);
    // What stands for a GUID partition table is none without one.
    let mut disk = vec![0; SIZE];
    put(&mut disk, 446 + 4, &[0xee]);
    put(&mut disk, 510, &[0x55, 0xaa]);
    assert_eq!(parts(&disk, &[])[0].what, Signature::Data);
}

#[test]
fn what_cannot_be_read_says_so() {
    let (dir, host) = machine(&vec![0; SIZE], &[]);
    fs::remove_file(dir.path().join("dev/vda")).unwrap();
    let content = seen(&host).content;
    assert!(matches!(&content, Content::Unreadable { why } if why.starts_with("No such file")));
    // Shorter than the kernel says.
    fs::write(dir.path().join("dev/vda"), [0; 512]).unwrap();
    assert!(matches!(seen(&host).content, Content::Unreadable { .. }));
}

proptest! {
    #[test]
    fn no_bytes_are_wrong(head: Vec<u8>, tail: Vec<u8>, length: u64, is_disk: bool) {
        let area = signature::Area { head: &head, tail: &tail, length, is_disk };
        let found = signature::recognise(&area);
        let zeros = head.iter().chain(&tail).all(|b| *b == 0);
        prop_assert_eq!(found.is_empty(), zeros);
        for text in found.iter().flat_map(|f| [&f.label, &f.id]).flatten() {
            prop_assert!(text.len() <= 256 && !text.chars().any(char::is_control));
        }
    }

}

proptest! {
    // Each writes and reads 16 MiB.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Something of every kind at once, and partitions wherever the kernel says that they are.
    #[test]
    fn whatever_is_on_a_disk_a_wipe_takes_it_away(
        which in proptest::collection::vec(0..planted().len(), 0..6),
        shift in 0..8usize,
        partitions in proptest::collection::vec((0..SIZE, 0..SIZE), 0..4),
    ) {
        let mut disk = vec![0; SIZE];
        for index in which {
            for (at, bytes) in &planted()[index].1 {
                let at = (at + shift * MIB).min(SIZE - bytes.len());
                put(&mut disk, at, bytes);
            }
        }
        let (_dir, host) = machine(&disk, &partitions);
        let before = seen(&host).content;
        prop_assert_eq!(&before, &seen(&host).content, "it is the same at every look");
        prop_assert!(before.is_known());
        wipe(&host, &[seen(&host).identity()], &Log::new(Vec::new())).unwrap();
        prop_assert_eq!(seen(&host).content, Content::EMPTY);
    }
}
