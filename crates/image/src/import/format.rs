//! A first look at what an image is. It refuses what cannot be used, by name; it does not judge
//! whether a partition table or a kernel is harmless.

use crate::{
    catalog::ImageKind,
    gpt::{GptError, Table},
};

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A virtual machine's disk in a format of its own.
    #[error("it is a {0} image; convert it: qemu-img convert -O raw IMAGE IMAGE.raw")]
    Convert(&'static str),
    /// Packed.
    #[error("it is packed ({what}); unpack it: {command}")]
    Unpack {
        /// With what.
        what: &'static str,
        /// The command that unpacks it.
        command: &'static str,
    },
    /// A disk image for disks of another sector size.
    #[error(
        "it is made for disks whose sectors have {0} bytes, and cannot be used on others: have it \
         made for sectors of 512 bytes"
    )]
    Sectors(usize),
    /// A disk image without a partition table.
    #[error("it has no partition table: a whole disk is needed, not a file system")]
    NoTable,
    /// A disk image whose table is broken.
    #[error("its partition table is not valid")]
    Table(#[source] GptError),
    /// A disk image that ends before its partitions do.
    #[error("it has {size} bytes, its partition table speaks of {table}")]
    Cut {
        /// Its length.
        size: u64,
        /// What the table wants.
        table: u64,
    },
    /// Something else.
    #[error("it is not a {0}")]
    Other(ImageKind),
}

/// Formats known by their first bytes: offset, magic, name.
const DISK_FORMATS: [(usize, &[u8], &str); 7] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"QED\0", "QED"),
];
/// What the kernel can unpack a ramdisk from (Documentation/admin-guide/initrd.rst), and disks come
/// in too.
const PACKERS: [(&[u8], &str, &str); 7] = [
    (b"\x1f\x8b", "gzip", "gunzip IMAGE.gz"),
    (b"\xfd7zXZ\0", "xz", "xz -d IMAGE.xz"),
    (b"BZh", "bzip2", "bunzip2 IMAGE.bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d IMAGE.zst"),
    (b"\x02\x21\x4c\x18", "lz4", "lz4 -d IMAGE.lz4"),
    (b"\x5d\0\0", "lzma", "xz -d IMAGE.lzma"),
    (b"\x89LZO\0", "lzop", "lzop -d IMAGE.lzo"),
];
/// What only disks come in: offset, magic, name, command.
const ARCHIVES: [(usize, &[u8], &str, &str); 4] = [
    (0, b"\x04\x22\x4d\x18", "lz4", "lz4 -d IMAGE.lz4"),
    (0, b"PK\x03\x04", "zip", "unzip IMAGE.zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "7z x IMAGE.7z"),
    (257, b"ustar", "tar", "tar -xf IMAGE.tar"),
];
/// Sectors of disks that are not of 512 bytes.
const OTHER_SECTORS: [usize; 3] = [1024, 2048, 4096];

fn has(head: &[u8], at: usize, magic: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// Looks at the first bytes of an image of `size` bytes that is said to be a `kind`.
pub(super) fn check(kind: ImageKind, head: &[u8], size: u64) -> Result<(), FormatError> {
    let wrong = FormatError::Other(kind);
    match kind {
        ImageKind::Disk => check_disk(head, size),
        // "HdrS" of the boot protocol (Documentation/arch/x86/boot.rst); a PE file also runs under
        // UEFI.
        ImageKind::Kernel if has(head, 0x202, b"HdrS") => Ok(()),
        ImageKind::Ramdisk => {
            let packed = PACKERS.iter().any(|(magic, ..)| has(head, 0, magic));
            let cpio = has(head, 0, b"070701") || has(head, 0, b"070702");
            if packed || cpio { Ok(()) } else { Err(wrong) }
        }
        ImageKind::NetbootProgram if has(head, 0, b"MZ") || (32..1 << 20).contains(&size) => Ok(()),
        // The first volume descriptor (ECMA-119, 8.1), at sector 16.
        ImageKind::Iso if has(head, 16 * 2048 + 1, b"CD001") => Ok(()),
        // The superblock's magic (Documentation/filesystems/squashfs.rst).
        ImageKind::ContainerStore if has(head, 0, b"hsqs") => Ok(()),
        ImageKind::Kernel
        | ImageKind::NetbootProgram
        | ImageKind::Iso
        | ImageKind::ContainerStore => Err(wrong),
    }
}

fn check_disk(head: &[u8], size: u64) -> Result<(), FormatError> {
    if let Some((_, _, name)) = DISK_FORMATS.iter().find(|(at, magic, _)| has(head, *at, magic)) {
        return Err(FormatError::Convert(name));
    }
    if let Some((_, what, command)) = PACKERS.iter().find(|(magic, ..)| has(head, 0, magic)) {
        return Err(FormatError::Unpack { what, command });
    }
    let archive = ARCHIVES.iter().find(|(at, magic, ..)| has(head, *at, magic));
    if let Some((_, _, what, command)) = archive {
        return Err(FormatError::Unpack { what, command });
    }
    match Table::parse(head) {
        Ok(table) if table.disk_bytes() > size => {
            Err(FormatError::Cut { size, table: table.disk_bytes() })
        }
        Ok(_) => Ok(()),
        Err(GptError::NoTable | GptError::Short { .. }) => {
            // The header is in the second sector, however large sectors are (UEFI 2.10, 5.3.1).
            match OTHER_SECTORS.iter().find(|bytes| has(head, **bytes, b"EFI PART")) {
                Some(bytes) => Err(FormatError::Sectors(*bytes)),
                None => check_mbr(head),
            }
        }
        Err(source) => Err(FormatError::Table(source)),
    }
}

/// An MBR has its signature, and at least one partition whose boot flag is one of the two values.
fn check_mbr(head: &[u8]) -> Result<(), FormatError> {
    let entries = head.get(446..510).filter(|_| has(head, 510, b"\x55\xaa"));
    let entries: Vec<&[u8]> = entries.ok_or(FormatError::NoTable)?.chunks_exact(16).collect();
    let flags = entries.iter().all(|e| matches!(e[0], 0 | 0x80));
    // A protective entry without the table it protects is a broken GPT.
    let used = entries.iter().any(|e| e[4] != 0 && e[4] != 0xee);
    if flags && used { Ok(()) } else { Err(FormatError::NoTable) }
}
