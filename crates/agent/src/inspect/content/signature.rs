//! By what partition tables, file systems, volume managers and arrays are recognised: a magic
//! number at a fixed place, and beside it a name and an id. Offsets are those of each format's own
//! description, as libblkid has them too; all is little-endian unless it says otherwise.
//!
//! Pure: bytes in, names out, and no bytes are wrong.

use undercloud_image::digest_of;
use undercloud_model::Signature;

use crate::sys::clean;

/// The ends of a disk or a partition.
#[derive(Debug, Clone, Copy)]
pub struct Area<'a> {
    /// Its first bytes.
    pub head: &'a [u8],
    /// Its last bytes. The same as `head` where the area is short.
    pub tail: &'a [u8],
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is a whole disk, which may have a partition table.
    pub is_disk: bool,
}

/// Something that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub what: Signature,
    /// The name that somebody gave it.
    pub label: Option<String>,
    /// Its own id.
    pub id: Option<String>,
}

type Recogniser = fn(&Area<'_>) -> Option<Found>;

/// In the order in which people read them: what divides a disk first.
const RECOGNISERS: &[Recogniser] = &[
    gpt,
    mbr,
    ceph,
    luks,
    lvm,
    linux_raid,
    intel_raid,
    ddf_raid,
    windows_ldm,
    zfs,
    vmfs,
    bcache,
    ext,
    xfs,
    btrfs,
    f2fs,
    fat,
    exfat,
    ntfs,
    iso9660,
    swap,
];

/// Everything that is recognised; data that is not is told from zeros.
pub fn recognise(area: &Area<'_>) -> Vec<Found> {
    let found: Vec<Found> = RECOGNISERS.iter().filter_map(|known| known(area)).collect();
    let is_data = |bytes: &[u8]| bytes.iter().any(|b| *b != 0);
    if found.is_empty() && (is_data(area.head) || is_data(area.tail)) {
        // So that other data is not taken for it.
        let id = digest_of(&[area.head, area.tail].concat()).short();
        return vec![Found { what: Signature::Data, label: None, id: Some(id) }];
    }
    found
}

impl Area<'_> {
    /// The bytes at an offset from the beginning.
    fn at(&self, offset: u64, length: usize) -> Option<&[u8]> {
        slice(self.head, offset, length)
    }

    /// The bytes at an offset from the beginning, which is near the end.
    fn at_end(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let begins = self.length.checked_sub(self.tail.len() as u64)?;
        slice(self.tail, offset.checked_sub(begins)?, length)
    }

    fn is(&self, offset: u64, magic: &[u8]) -> bool {
        self.at(offset, magic.len()) == Some(magic)
    }

    fn text(&self, offset: u64, length: usize) -> Option<String> {
        text(self.at(offset, length)?)
    }

    fn uuid(&self, offset: u64) -> Option<String> {
        uuid(self.at(offset, 16)?)
    }

    fn hex(&self, offset: u64, length: usize) -> Option<String> {
        Some(hex(self.at(offset, length)?))
    }
}

fn slice(bytes: &[u8], offset: u64, length: usize) -> Option<&[u8]> {
    let from = usize::try_from(offset).ok()?;
    bytes.get(from..from.checked_add(length)?)
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    clean(&String::from_utf8_lossy(&bytes[..end]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// As it is written; nothing where all bytes are zero.
fn uuid(bytes: &[u8]) -> Option<String> {
    let text = hex(bytes);
    if bytes.len() != 16 || bytes.iter().all(|b| *b == 0) {
        return None;
    }
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    Some(parts.join("-"))
}

const fn found(what: Signature, label: Option<String>, id: Option<String>) -> Option<Found> {
    Some(Found { what, label, id })
}

/// UEFI 2.10, section 5.3.2: sector 1, a copy in the last one. Which it is is known by the disk's
/// GUID and by the header's checksum, which the entries are part of.
fn gpt(area: &Area<'_>) -> Option<Found> {
    if !area.is_disk {
        return None;
    }
    for sector in [512, 4096] {
        let last = area.length.checked_sub(sector)?;
        for header in [area.at(sector, 92), area.at_end(last, 92)].into_iter().flatten() {
            if header.starts_with(b"EFI PART") {
                let id = format!("{} {}", hex(&header[56..72]), hex(&header[16..20]));
                return found(Signature::Gpt, None, Some(id));
            }
        }
    }
    None
}

/// Four entries of 16 bytes from 446 on: a flag, and at 4 a type. One of type 0xee alone stands for
/// a GUID partition table.
fn mbr(area: &Area<'_>) -> Option<Found> {
    let entries = area.at(446, 64)?;
    let kinds = || entries.chunks(16).map(|entry| entry[4]).filter(|kind| *kind != 0);
    let flags_are_legal = entries.chunks(16).all(|entry| matches!(entry[0], 0 | 0x80));
    let is_table = flags_are_legal && kinds().count() > 0 && kinds().any(|kind| kind != 0xee);
    if !area.is_disk || !area.is(510, &[0x55, 0xaa]) || !is_table || is_boot_sector(area) {
        return None;
    }
    let id = digest_of(area.at(440, 70)?).short();
    found(Signature::Mbr, None, Some(id))
}

/// A file system's first sector ends like an MBR.
fn is_boot_sector(area: &Area<'_>) -> bool {
    fat(area).is_some() || exfat(area).is_some() || ntfs(area).is_some()
}

/// `BlueStore`'s label: this line, and the OSD's UUID in the next.
fn ceph(area: &Area<'_>) -> Option<Found> {
    const MAGIC: &[u8] = b"bluestore block device\n";
    if !area.is(0, MAGIC) {
        return None;
    }
    found(Signature::CephBlueStore, None, area.text(MAGIC.len() as u64, 36))
}

/// Both versions; the second has a label.
fn luks(area: &Area<'_>) -> Option<Found> {
    if !area.is(0, b"LUKS\xba\xbe") {
        return None;
    }
    let label = if area.is(6, &[0, 2]) { area.text(24, 48) } else { None };
    found(Signature::Luks, label, area.text(168, 40))
}

/// A label in one of the first four sectors, which says at 20 where the volume's header is, which
/// begins with its id.
fn lvm(area: &Area<'_>) -> Option<Found> {
    for label in (0..4).map(|sector| sector * 512) {
        if area.is(label, b"LABELONE") && area.is(label + 24, b"LVM2 001") {
            let header = area.at(label + 20, 4)?.try_into().ok().map(u32::from_le_bytes)?;
            let id = area.text(label + u64::from(header), 32);
            return found(Signature::Lvm, None, id);
        }
    }
    None
}

/// Version 1 begins, or ends 8 KiB before the end, or is 4 KiB after the beginning; 0.90 is in the
/// last but one, or last, 64 KiB, in the byte order of who made it.
fn linux_raid(area: &Area<'_>) -> Option<Found> {
    const MAGIC: u32 = 0xa92b_4efc;
    let end = (area.length / 512).checked_sub(16).map(|sector| (sector & !7) * 512);
    let ends = end.and_then(|at| area.at_end(at, 64));
    for header in [area.at(4096, 64), area.at(0, 64), ends].into_iter().flatten() {
        if header.starts_with(&MAGIC.to_le_bytes()) && header[4..8] == 1u32.to_le_bytes() {
            return found(Signature::LinuxRaid, text(&header[32..64]), uuid(&header[16..32]));
        }
    }
    let old = (area.length & !0xffff).checked_sub(0x1_0000).and_then(|at| area.at_end(at, 24))?;
    if old.starts_with(&MAGIC.to_le_bytes()) || old.starts_with(&MAGIC.to_be_bytes()) {
        return found(Signature::LinuxRaid, None, Some(hex(&old[20..24])));
    }
    None
}

/// The last but one sector; its family's number is at 48.
fn intel_raid(area: &Area<'_>) -> Option<Found> {
    let header = area.at_end(area.length.checked_sub(1024)?, 52)?;
    if !header.starts_with(b"Intel Raid ISM Cfg Sig. ") {
        return None;
    }
    found(Signature::IntelRaid, None, Some(hex(&header[48..52])))
}

/// The anchor in the last sector, big-endian: magic, checksum, GUID (SNIA DDF 2.0, section 5.5).
fn ddf_raid(area: &Area<'_>) -> Option<Found> {
    let header = area.at_end(area.length.checked_sub(512)?, 32)?;
    if !header.starts_with(&[0xde, 0x11, 0xde, 0x11]) {
        return None;
    }
    found(Signature::DdfRaid, None, Some(hex(&header[8..32])))
}

/// The private header in sector 6; the disk's id is text at 48.
fn windows_ldm(area: &Area<'_>) -> Option<Found> {
    if !area.is_disk || !area.is(3072, b"PRIVHEAD") {
        return None;
    }
    found(Signature::WindowsLdm, None, area.text(3072 + 48, 64))
}

/// The first two of four labels of 256 KiB; the second half of each is uberblocks of a KiB or more,
/// in the byte order of who wrote them.
fn zfs(area: &Area<'_>) -> Option<Found> {
    const MAGIC: u64 = 0x00ba_b10c;
    let labels = [0u64, 256 << 10].into_iter();
    let mut blocks = labels.flat_map(|label| (128..256).map(move |kib| label + (kib << 10)));
    let is = |at: u64| area.is(at, &MAGIC.to_le_bytes()) || area.is(at, &MAGIC.to_be_bytes());
    blocks.any(is).then_some(Found { what: Signature::Zfs, label: None, id: None })
}

/// One MiB from the beginning; its UUID is 20 bytes on.
fn vmfs(area: &Area<'_>) -> Option<Found> {
    const AT: u64 = 1 << 20;
    if !area.is(AT, &0xc001_d00d_u32.to_le_bytes()) {
        return None;
    }
    found(Signature::Vmfs, None, area.hex(AT + 20, 16))
}

/// The superblock in sector 8: magic at 24, UUID, set's UUID, label.
fn bcache(area: &Area<'_>) -> Option<Found> {
    const MAGIC: [u8; 16] = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d,
        0x81,
    ];
    if !area.is(4096 + 24, &MAGIC) {
        return None;
    }
    found(Signature::Bcache, area.text(4096 + 72, 32), area.uuid(4096 + 40))
}

/// The superblock at 1024: magic at 56, UUID at 104, name at 120.
fn ext(area: &Area<'_>) -> Option<Found> {
    if !area.is(1024 + 56, &[0x53, 0xef]) {
        return None;
    }
    found(Signature::Ext, area.text(1024 + 120, 16), area.uuid(1024 + 104))
}

fn xfs(area: &Area<'_>) -> Option<Found> {
    if !area.is(0, b"XFSB") {
        return None;
    }
    found(Signature::Xfs, area.text(108, 12), area.uuid(32))
}

fn btrfs(area: &Area<'_>) -> Option<Found> {
    const AT: u64 = 64 << 10;
    if !area.is(AT + 64, b"_BHRfS_M") {
        return None;
    }
    found(Signature::Btrfs, area.text(AT + 299, 256), area.uuid(AT + 32))
}

fn f2fs(area: &Area<'_>) -> Option<Found> {
    if !area.is(1024, &0xf2f5_2010_u32.to_le_bytes()) {
        return None;
    }
    found(Signature::F2fs, None, area.uuid(1024 + 108))
}

/// FAT12 and FAT16 have name and number at 43 and 39, FAT32 at 71 and 67.
fn fat(area: &Area<'_>) -> Option<Found> {
    if !area.is(510, &[0x55, 0xaa]) {
        return None;
    }
    let named = |label, number| found(Signature::Fat, area.text(label, 11), area.hex(number, 4));
    if area.is(82, b"FAT32   ") {
        named(71, 67)
    } else if area.is(54, b"FAT12   ") || area.is(54, b"FAT16   ") {
        named(43, 39)
    } else {
        None
    }
}

fn exfat(area: &Area<'_>) -> Option<Found> {
    if !area.is(3, b"EXFAT   ") {
        return None;
    }
    found(Signature::ExFat, None, area.hex(100, 4))
}

fn ntfs(area: &Area<'_>) -> Option<Found> {
    if !area.is(3, b"NTFS    ") {
        return None;
    }
    found(Signature::Ntfs, None, area.hex(72, 8))
}

/// The first volume descriptor, in sector 16 of 2048 bytes: its name at 40, made at 813 (ECMA-119).
fn iso9660(area: &Area<'_>) -> Option<Found> {
    const AT: u64 = 32 << 10;
    if !area.is(AT + 1, b"CD001") {
        return None;
    }
    found(Signature::Iso9660, area.text(AT + 40, 32), area.text(AT + 813, 16))
}

/// The last ten bytes of the first page, of whatever size; UUID at 1036, name at 1052.
fn swap(area: &Area<'_>) -> Option<Found> {
    for page in [4096, 8192, 16_384, 32_768, 65_536] {
        if area.is(page - 10, b"SWAPSPACE2") || area.is(page - 10, b"SWAP-SPACE") {
            return found(Signature::Swap, area.text(1052, 16), area.uuid(1036));
        }
    }
    None
}
