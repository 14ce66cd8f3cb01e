//! The bytes of a GUID partition table: protective MBR, header and entries, front and back.

use super::{ENTRIES, Guid, Partition, Table};

/// Bytes in a sector; other sector sizes are refused.
pub const SECTOR_BYTES: u64 = 512;
/// What [`Table::parse`] wants to see of the disk's beginning at least, and what it writes there:
/// protective MBR, header, entries.
pub const HEAD_BYTES: u64 = 34 * SECTOR_BYTES;
/// What the copy at the disk's end takes: entries, header.
pub const TAIL_BYTES: u64 = 33 * SECTOR_BYTES;
/// UTF-16 units in a partition's name.
pub(super) const NAME_UNITS_MAX: usize = 36;
pub(super) const FIRST_USABLE: u64 = 34;
/// Bounded so that no sum or product of sectors can overflow.
pub(super) const SECTORS_MAX: u64 = 1 << 54;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_BYTES: u32 = 92;
const ENTRY_BYTES: u32 = 128;
const SECTOR: usize = 512;
const ENTRIES_BYTES: usize = ENTRIES * ENTRY_BYTES as usize;

/// Why bytes are no table of ours, or a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GptError {
    /// Fewer bytes than a table takes.
    #[error("{have} bytes of the disk were given, a partition table takes {HEAD_BYTES}")]
    Short {
        /// Bytes given.
        have: usize,
    },
    /// No signature where it belongs.
    #[error("there is no GUID partition table")]
    NoTable,
    /// A CRC does not fit.
    #[error("the partition table's {0} CRC is wrong")]
    Crc(&'static str),
    /// A field has a value that is not allowed, or not supported.
    #[error("the partition table's {field} is {value}")]
    Field {
        /// Its name in the specification.
        field: &'static str,
        /// What it is.
        value: u64,
    },
    /// A partition lies outside the usable space.
    #[error("partition {0} lies outside the disk")]
    Outside(usize),
    /// Two partitions share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(usize, usize),
    /// The disk is smaller than what must be on it.
    #[error("the disk has {disk} bytes, {need} are needed")]
    DiskTooSmall {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        disk: u64,
    },
    /// No room for a further partition.
    #[error("a partition of {need} bytes does not fit: {free} bytes are free at the end")]
    NoRoom {
        /// Bytes wanted.
        need: u64,
        /// Bytes behind the last partition.
        free: u64,
    },
    /// All entries are in use.
    #[error("all {ENTRIES} entries of the partition table are in use")]
    Full,
    /// There is no partition at all.
    #[error("the partition table is empty")]
    Empty,
    /// The name has more than 36 UTF-16 units.
    #[error("`{0}` is too long for a partition's name")]
    NameTooLong(String),
}

pub(super) fn last_usable(disk_sectors: u64) -> u64 {
    disk_sectors.saturating_sub(34)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).map_or(Guid::ZERO, Guid::from_disk)
}

fn check(field: &'static str, value: u64, good: bool) -> Result<(), GptError> {
    if good { Ok(()) } else { Err(GptError::Field { field, value }) }
}

impl Table {
    /// Reads the primary table from the first bytes of a disk ([`HEAD_BYTES`] or more). The disk
    /// may be larger than the table says (an image on a bigger disk), not smaller than its
    /// partitions: see [`Table::fit_to`].
    pub fn parse(head: &[u8]) -> Result<Self, GptError> {
        let sector = head.get(SECTOR..2 * SECTOR).ok_or(GptError::Short { have: head.len() })?;
        if &sector[..8] != SIGNATURE {
            return Err(GptError::NoTable);
        }
        let size = u32_at(sector, 12);
        let header = usize::try_from(size).ok().and_then(|n| sector.get(..n));
        let Some(header) = header.filter(|_| size >= HEADER_BYTES) else {
            return Err(GptError::Field { field: "HeaderSize", value: size.into() });
        };
        let mut blank = header.to_vec();
        blank[16..20].fill(0);
        if crc32fast::hash(&blank) != u32_at(header, 16) {
            return Err(GptError::Crc("header"));
        }
        let disk_sectors = check_places(header)?;
        let entries = head.get(2 * SECTOR..2 * SECTOR + ENTRIES_BYTES);
        let entries = entries.ok_or(GptError::Short { have: head.len() })?;
        if crc32fast::hash(entries) != u32_at(header, 88) {
            return Err(GptError::Crc("entries"));
        }
        let mut table = Self {
            disk_id: guid_at(header, 56),
            disk_sectors,
            first_usable: u64_at(header, 40),
            last_usable: u64_at(header, 48),
            partitions: parse_entries(entries),
        };
        table.check_partitions()?;
        Ok(table)
    }

    fn check_partitions(&mut self) -> Result<(), GptError> {
        self.partitions.sort_by_key(|p| p.first);
        for p in &self.partitions {
            if p.first < self.first_usable || p.last > self.last_usable || p.first > p.last {
                return Err(GptError::Outside(p.index + 1));
            }
        }
        for pair in self.partitions.windows(2) {
            if let [a, b] = pair
                && b.first <= a.last
            {
                return Err(GptError::Overlap(a.index + 1, b.index + 1));
            }
        }
        Ok(())
    }

    /// Writes protective MBR, header and entries over the first [`HEAD_BYTES`] of `head`. The boot
    /// code (bytes 0 to 439) and the disk signature behind it stay as they are.
    pub fn write_head(&self, head: &mut [u8]) -> Result<(), GptError> {
        let have = head.len();
        let Some(head) = head.get_mut(..2 * SECTOR + ENTRIES_BYTES) else {
            return Err(GptError::Short { have });
        };
        write_protective_mbr(&mut head[..SECTOR], self.disk_sectors);
        let entries = self.entries();
        head[SECTOR..2 * SECTOR].copy_from_slice(&self.header(&entries, 1));
        head[2 * SECTOR..].copy_from_slice(&entries);
        Ok(())
    }

    /// Where the table's copy at the end of the disk belongs, in bytes, and the copy.
    pub fn tail(&self) -> (u64, Vec<u8>) {
        let mut bytes = self.entries();
        let header = self.header(&bytes, self.disk_sectors - 1);
        bytes.extend_from_slice(&header);
        ((self.disk_sectors - 33) * SECTOR_BYTES, bytes)
    }

    fn header(&self, entries: &[u8], my_lba: u64) -> [u8; SECTOR] {
        let primary = my_lba == 1;
        let alternate = if primary { self.disk_sectors - 1 } else { 1 };
        let entries_lba = if primary { 2 } else { self.disk_sectors - 33 };
        let mut h = [0u8; SECTOR];
        h[..8].copy_from_slice(SIGNATURE);
        h[8..12].copy_from_slice(&REVISION.to_le_bytes());
        h[12..16].copy_from_slice(&HEADER_BYTES.to_le_bytes());
        h[24..32].copy_from_slice(&my_lba.to_le_bytes());
        h[32..40].copy_from_slice(&alternate.to_le_bytes());
        h[40..48].copy_from_slice(&self.first_usable.to_le_bytes());
        h[48..56].copy_from_slice(&self.last_usable.to_le_bytes());
        h[56..72].copy_from_slice(&self.disk_id.to_disk());
        h[72..80].copy_from_slice(&entries_lba.to_le_bytes());
        h[80..84].copy_from_slice(&128u32.to_le_bytes());
        h[84..88].copy_from_slice(&ENTRY_BYTES.to_le_bytes());
        h[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
        let crc = crc32fast::hash(&h[..92]);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        h
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; ENTRIES_BYTES];
        let slots: Vec<&mut [u8]> = bytes.chunks_exact_mut(ENTRY_BYTES as usize).collect();
        for (index, slot) in slots.into_iter().enumerate() {
            let Some(p) = self.partitions.iter().find(|p| p.index == index) else { continue };
            slot[..16].copy_from_slice(&p.kind.to_disk());
            slot[16..32].copy_from_slice(&p.id.to_disk());
            slot[32..40].copy_from_slice(&p.first.to_le_bytes());
            slot[40..48].copy_from_slice(&p.last.to_le_bytes());
            slot[48..56].copy_from_slice(&p.attributes.to_le_bytes());
            for (unit, to) in p.name.encode_utf16().zip(slot[56..].chunks_exact_mut(2)) {
                to.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }
}

/// Checks where things are said to be; returns the disk's length in sectors.
fn check_places(header: &[u8]) -> Result<u64, GptError> {
    let (my, alternate) = (u64_at(header, 24), u64_at(header, 32));
    check("MyLBA", my, my == 1)?;
    check("AlternateLBA", alternate, (67..SECTORS_MAX).contains(&alternate))?;
    let sectors = alternate + 1;
    let entries_lba = u64_at(header, 72);
    check("PartitionEntryLBA", entries_lba, entries_lba == 2)?;
    let (count, size) = (u32_at(header, 80), u32_at(header, 84));
    check("NumberOfPartitionEntries", count.into(), count == 128)?;
    check("SizeOfPartitionEntry", size.into(), size == ENTRY_BYTES)?;
    let (first, last) = (u64_at(header, 40), u64_at(header, 48));
    check("FirstUsableLBA", first, first >= FIRST_USABLE && first <= last)?;
    check("LastUsableLBA", last, last <= last_usable(sectors))?;
    Ok(sectors)
}

fn parse_entries(entries: &[u8]) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for (index, slot) in entries.chunks_exact(ENTRY_BYTES as usize).enumerate() {
        let kind = guid_at(slot, 0);
        if kind == Guid::ZERO {
            continue;
        }
        let units: Vec<u16> =
            slot[56..].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        let units = units.split(|unit| *unit == 0).next().unwrap_or(&[]);
        // A name that is not UTF-16 is cut at the fault, so that it can be written again.
        let name = char::decode_utf16(units.iter().copied()).map_while(Result::ok).collect();
        partitions.push(Partition {
            kind,
            id: guid_at(slot, 16),
            first: u64_at(slot, 32),
            last: u64_at(slot, 40),
            attributes: u64_at(slot, 48),
            name,
            index,
        });
    }
    partitions
}

fn write_protective_mbr(sector: &mut [u8], disk_sectors: u64) {
    let sectors = u32::try_from(disk_sectors - 1).unwrap_or(u32::MAX);
    sector[446..510].fill(0);
    // Not bootable, CHS 0/0/2 to the end, type 0xEE (UEFI 2.10, table 5.3).
    sector[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&1u32.to_le_bytes());
    sector[458..462].copy_from_slice(&sectors.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
}
