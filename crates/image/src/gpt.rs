//! GUID partition tables: read one, grow it to a bigger disk, append a partition, write both copies.
//!
//! Pure: bytes in, bytes out; any input gives a table or an error. UEFI specification 2.10, section
//! 5.3; disks with 512-byte sectors only. What is read is trusted no further than it is checked:
//! both CRCs, the place of the header, entry count and size, every partition inside the usable
//! range and none over another.

mod guid;
mod header;

pub use guid::{Guid, ParseGuidError};
pub use header::{GptError, HEAD_BYTES, SECTOR_BYTES, TAIL_BYTES};

/// Partition type: what BIOS GRUB embeds its core image in.
pub const TYPE_BIOS_BOOT: Guid = Guid::from_text(b"21686148-6449-6e6f-744e-656564454649");
/// Partition type: EFI system partition.
pub const TYPE_ESP: Guid = Guid::from_text(b"c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Partition type: root file system for x86-64 (Discoverable Partitions Specification).
pub const TYPE_ROOT_X86_64: Guid = Guid::from_text(b"4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// Partition type: Linux file system data.
pub const TYPE_LINUX: Guid = Guid::from_text(b"0fc63daf-8483-4772-8e79-3d69d8477de4");

/// Partitions begin at multiples of this (1 MiB).
pub const ALIGN_SECTORS: u64 = 2048;
/// Entries in a table of ours; the least that the specification allows.
const ENTRIES: usize = 128;

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's own id.
    pub disk_id: Guid,
    disk_sectors: u64,
    first_usable: u64,
    last_usable: u64,
    partitions: Vec<Partition>,
}

/// One partition; places are sectors, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Its own id.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Its name, at most 36 UTF-16 units.
    pub name: String,
    /// Its index in the table, from 0: Linux calls it `index + 1`.
    pub index: usize,
}

impl Partition {
    /// Where it begins, in bytes.
    pub fn offset_bytes(&self) -> u64 {
        self.first * SECTOR_BYTES
    }

    /// Its length in bytes.
    pub fn size_bytes(&self) -> u64 {
        (self.last - self.first + 1) * SECTOR_BYTES
    }
}

impl Table {
    /// An empty table for a disk of `disk_bytes`.
    pub fn new(disk_id: Guid, disk_bytes: u64) -> Result<Self, GptError> {
        let disk_sectors = sectors_of(disk_bytes, 2 * HEAD_BYTES)?;
        Ok(Self {
            disk_id,
            disk_sectors,
            first_usable: header::FIRST_USABLE,
            last_usable: header::last_usable(disk_sectors),
            partitions: Vec::new(),
        })
    }

    /// The partitions in the order of their places on the disk.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The disk's length in bytes, as the table has it.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_sectors * SECTOR_BYTES
    }

    /// The first partition of this name.
    pub fn by_name(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.name == name)
    }

    /// Moves the table's end to the end of a disk of `disk_bytes`; partitions stay where they are.
    pub fn fit_to(&mut self, disk_bytes: u64) -> Result<(), GptError> {
        let needed = self.partitions.last().map_or(header::FIRST_USABLE, |p| p.last + 1);
        let need = needed.saturating_mul(SECTOR_BYTES).saturating_add(TAIL_BYTES);
        self.disk_sectors = sectors_of(disk_bytes, need.max(2 * HEAD_BYTES))?;
        self.last_usable = header::last_usable(self.disk_sectors);
        Ok(())
    }

    /// Adds a partition of `sectors` at the first aligned place behind the last one.
    pub fn push(
        &mut self,
        kind: Guid,
        id: Guid,
        name: &str,
        sectors: u64,
    ) -> Result<&Partition, GptError> {
        let after = self.partitions.last().map_or(self.first_usable, |p| p.last + 1);
        let first = after.next_multiple_of(ALIGN_SECTORS);
        self.place(kind, id, name, first, sectors)
    }

    /// Adds a partition of at least `bytes` at the very end of the usable space, aligned.
    pub fn push_at_end(
        &mut self,
        kind: Guid,
        id: Guid,
        name: &str,
        bytes: u64,
    ) -> Result<&Partition, GptError> {
        let sectors = bytes.div_ceil(SECTOR_BYTES).max(1);
        let end = self.last_usable + 1;
        let first = end.saturating_sub(sectors) / ALIGN_SECTORS * ALIGN_SECTORS;
        let after = self.partitions.last().map_or(self.first_usable, |p| p.last + 1);
        if first < after || end < sectors {
            return Err(self.no_room(sectors));
        }
        self.place(kind, id, name, first, sectors)
    }

    fn place(
        &mut self,
        kind: Guid,
        id: Guid,
        name: &str,
        first: u64,
        sectors: u64,
    ) -> Result<&Partition, GptError> {
        let Some(last) = first.checked_add(sectors).and_then(|end| end.checked_sub(1)) else {
            return Err(self.no_room(sectors));
        };
        if sectors == 0 || first < self.first_usable || last > self.last_usable {
            return Err(self.no_room(sectors));
        }
        if name.encode_utf16().count() > header::NAME_UNITS_MAX {
            return Err(GptError::NameTooLong(name.to_owned()));
        }
        let index = (0..ENTRIES).find(|i| self.partitions.iter().all(|p| p.index != *i));
        let index = index.ok_or(GptError::Full)?;
        let name = name.to_owned();
        self.partitions.push(Partition { kind, id, first, last, attributes: 0, name, index });
        self.partitions.last().ok_or(GptError::Full)
    }

    /// Lets the last partition reach to the end, but for `reserve_bytes` that stay free behind it.
    /// A partition that already reaches further is left as it is.
    pub fn grow_last(&mut self, reserve_bytes: u64) -> Result<&Partition, GptError> {
        let reserve = reserve_bytes.div_ceil(SECTOR_BYTES);
        let end = (self.last_usable + 1).saturating_sub(reserve) / ALIGN_SECTORS * ALIGN_SECTORS;
        let last = self.partitions.last_mut().ok_or(GptError::Empty)?;
        last.last = last.last.max(end.saturating_sub(1));
        Ok(last)
    }

    /// Takes away the partitions of this name.
    pub fn remove_by_name(&mut self, name: &str) {
        self.partitions.retain(|p| p.name != name);
    }

    fn no_room(&self, sectors: u64) -> GptError {
        let after = self.partitions.last().map_or(self.first_usable, |p| p.last + 1);
        let free = (self.last_usable + 1).saturating_sub(after).saturating_mul(SECTOR_BYTES);
        GptError::NoRoom { need: sectors.saturating_mul(SECTOR_BYTES), free }
    }
}

fn sectors_of(disk: u64, need: u64) -> Result<u64, GptError> {
    let sectors = disk / SECTOR_BYTES;
    if disk < need {
        return Err(GptError::DiskTooSmall { need, disk });
    }
    if sectors > header::SECTORS_MAX {
        return Err(GptError::Field { field: "disk size in sectors", value: sectors });
    }
    Ok(sectors)
}

#[cfg(test)]
mod tests;
