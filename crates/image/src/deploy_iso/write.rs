//! Writes a deploy CD: descriptors, boot catalog, and the boot code of a stick.

use super::{DeployIsoError, nobody};
use crate::iso9660::{both_u16, both_u32, record};

const SECTOR: usize = 2048;
const SECTOR_BYTES: u32 = 2048;
/// Sectors as a disk counts them.
const BLOCK: usize = 512;
const BLOCKS: usize = SECTOR / BLOCK;
const PATH_TABLE_LITTLE: u32 = 19;
const PATH_TABLE_BIG: u32 = 20;
const ROOT: u32 = 21;
const CATALOG: u32 = 22;
/// [`IDENTITY_OFFSET`] in sectors.
const IDENTITY: u32 = 32;
const FIRST_FREE: u32 = 64;
/// Empty sectors at the end, as many as mkisofs pads with: a loader reads ahead, and beyond the end
/// of a CD GRUB got garbage from SeaBIOS in place of the last part of a file.
const PADDING: u32 = 150;
/// What the loader searches for.
pub(crate) const LABEL: &str = "BM_DEPLOY";

/// Where boot_hybrid.img has the block of the BIOS image (grub-core/boot/i386/pc/boot.S).
const HYBRID_KERNEL_BLOCK: usize = 0x1b0;
/// Where its partition table is (UEFI 2.10, section 5.2.1), and a type for UEFI's.
const PARTITIONS: usize = 446;
const TYPE_EFI: u8 = 0xef;
/// Where the BIOS image has its boot information table (grub-core/boot/i386/pc/cdboot.S).
const BOOT_INFO: usize = 8;
/// What the table's sum leaves out.
const BOOT_INFO_END: usize = 64;
/// Behind cdboot.img, diskboot.img has a list of what to load, for a start from a stick.
const STICK_BLOCK_LIST: usize = SECTOR + 500;

/// What a deploy CD is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// Boot code for a stick: `boot_hybrid.img`.
    pub(crate) hybrid: &'a [u8],
    /// The loader for BIOS, of format `i386-pc-eltorito`.
    pub(crate) bios: &'a [u8],
    /// A FAT file system with the loader for UEFI.
    pub(crate) efi: &'a [u8],
    /// The kernel.
    pub(crate) kernel: &'a [u8],
    /// The deploy ramdisk.
    pub(crate) ramdisk: &'a [u8],
}

/// A file on the CD.
struct File<'a> {
    name: &'static str,
    sector: u32,
    content: &'a [u8],
}

impl File<'_> {
    fn bytes(&self) -> Result<u32, DeployIsoError> {
        u32::try_from(self.content.len()).map_err(|_| DeployIsoError::TooLarge)
    }

    /// The next free sector.
    fn end(&self) -> Result<u32, DeployIsoError> {
        let sectors = u32::try_from(self.content.len().div_ceil(SECTOR));
        let end = sectors.ok().and_then(|sectors| self.sector.checked_add(sectors));
        end.ok_or(DeployIsoError::TooLarge)
    }

    /// Its first block as a disk counts them.
    fn block(&self) -> u64 {
        u64::from(self.sector) * BLOCKS as u64
    }
}

/// Writes the CD.
pub(crate) fn write(parts: &Parts<'_>) -> Result<Vec<u8>, DeployIsoError> {
    let nobody = nobody()?;
    let bios = File { name: "BIOS.IMG;1", sector: FIRST_FREE, content: parts.bios };
    let patched = bios_image(&bios)?;
    let efi = File { name: "EFI.IMG;1", sector: bios.end()?, content: parts.efi };
    let kernel = File { name: "KERNEL.;1", sector: efi.end()?, content: parts.kernel };
    let ramdisk = File { name: "RAMDISK.;1", sector: kernel.end()?, content: parts.ramdisk };
    let end = ramdisk.end()?.checked_add(PADDING).ok_or(DeployIsoError::TooLarge)?;
    let identity = File { name: "IDENTITY.;1", sector: IDENTITY, content: &nobody };
    let head = stick(parts.hybrid, &bios, &efi)?;
    let catalog = catalog(&bios, &efi)?;
    let bios = File { content: &patched, ..bios };
    // A directory is in the order of its names (ECMA-119, 9.3).
    let files = [&bios, &efi, &identity, &kernel, &ramdisk];
    let mut cd = vec![0; end as usize * SECTOR];
    let mut put = |sector: u32, bytes: &[u8]| {
        cd[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &head);
    put(16, &volume(end));
    put(17, &boot_record());
    put(18, b"\xffCD001\x01");
    put(PATH_TABLE_LITTLE, &path_table(ROOT.to_le_bytes(), 1u16.to_le_bytes()));
    put(PATH_TABLE_BIG, &path_table(ROOT.to_be_bytes(), 1u16.to_be_bytes()));
    put(ROOT, &directory(&files)?);
    put(CATALOG, &catalog);
    for file in files {
        put(file.sector, file.content);
    }
    Ok(cd)
}

/// The BIOS image with the table that says where it is: cdboot.img loads the rest by that, from a
/// CD; diskboot.img by its own list, from a stick.
fn bios_image(file: &File<'_>) -> Result<Vec<u8>, DeployIsoError> {
    let mut image = file.content.to_vec();
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    if image.len() < STICK_BLOCK_LIST + 8 {
        return Err(DeployIsoError::Loader("BIOS"));
    }
    image[STICK_BLOCK_LIST..][..8]
        .copy_from_slice(&(file.block() + BLOCKS as u64 + 1).to_le_bytes());
    let words = image[BOOT_INFO_END..].chunks_exact(4);
    let sum = words.fold(0u32, |sum, word| {
        sum.wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    });
    let length = u32::try_from(image.len()).map_err(|_| DeployIsoError::TooLarge)?;
    for (i, field) in [16, file.sector, length, sum].into_iter().enumerate() {
        image[BOOT_INFO + 4 * i..][..4].copy_from_slice(&field.to_le_bytes());
    }
    Ok(image)
}

/// The first block: for a BIOS that starts from a stick its code, for UEFI a partition with the
/// loader's file system.
fn stick(hybrid: &[u8], bios: &File<'_>, efi: &File<'_>) -> Result<Vec<u8>, DeployIsoError> {
    if hybrid.len() != BLOCK {
        return Err(DeployIsoError::Loader("stick's"));
    }
    let mut head = hybrid.to_vec();
    // cdboot.img is for CDs: a stick begins with what is behind it.
    head[HYBRID_KERNEL_BLOCK..][..8].copy_from_slice(&(bios.block() + BLOCKS as u64).to_le_bytes());
    head[PARTITIONS..510].fill(0);
    let entry = &mut head[PARTITIONS..][..16];
    entry[0] = 0x80; // Some firmware starts only from a disk with an active partition.
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = TYPE_EFI;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    let first = u32::try_from(efi.block()).map_err(|_| DeployIsoError::TooLarge)?;
    let count = u32::try_from(efi.content.len() / BLOCK).map_err(|_| DeployIsoError::TooLarge)?;
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&count.to_le_bytes());
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    Ok(head)
}

/// The boot catalog (El Torito, section 2).
fn catalog(bios: &File<'_>, efi: &File<'_>) -> Result<Vec<u8>, DeployIsoError> {
    const BOOTABLE: u8 = 0x88;
    let mut catalog = vec![0u8; 4 * 32];
    // The validation entry: all its words add up to zero.
    catalog[0] = 1;
    catalog[30..32].copy_from_slice(&[0x55, 0xaa]);
    let sum = catalog[..32]
        .chunks_exact(2)
        .fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    catalog[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let blocks = u16::try_from(efi.content.len().div_ceil(BLOCK));
    let blocks = blocks.map_err(|_| DeployIsoError::Loader("UEFI"))?;
    // BIOS loads cdboot.img, one sector, which loads the rest.
    let load = u16::try_from(BLOCKS).map_err(|_| DeployIsoError::TooLarge)?;
    for (at, file, blocks) in [(32, bios, load), (96, efi, blocks)] {
        let entry = &mut catalog[at..][..32];
        entry[0] = BOOTABLE;
        entry[6..8].copy_from_slice(&blocks.to_le_bytes());
        entry[8..12].copy_from_slice(&file.sector.to_le_bytes());
    }
    // The last section: UEFI's (UEFI 2.10, section 13.3.2.1), with one entry.
    catalog[64..68].copy_from_slice(&[0x91, 0xef, 1, 0]);
    Ok(catalog)
}

/// The boot record (El Torito, section 2.0).
fn boot_record() -> Vec<u8> {
    let mut record = vec![0u8; SECTOR];
    record[..7].copy_from_slice(b"\x00CD001\x01");
    record[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    record[71..75].copy_from_slice(&CATALOG.to_le_bytes());
    record
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn volume(sectors: u32) -> Vec<u8> {
    let mut d = vec![0u8; SECTOR];
    d[..7].copy_from_slice(b"\x01CD001\x01");
    for field in [8..72, 190..813] {
        d[field].fill(b' ');
    }
    d[40..40 + LABEL.len()].copy_from_slice(LABEL.as_bytes());
    d[80..88].copy_from_slice(&both_u32(sectors));
    d[120..124].copy_from_slice(&both_u16(1));
    d[124..128].copy_from_slice(&both_u16(1));
    d[128..132].copy_from_slice(&both_u16(2048));
    d[132..140].copy_from_slice(&both_u32(10));
    d[140..144].copy_from_slice(&PATH_TABLE_LITTLE.to_le_bytes());
    d[148..152].copy_from_slice(&PATH_TABLE_BIG.to_be_bytes());
    d[156..190].copy_from_slice(&record(b"\x00", ROOT, SECTOR_BYTES, true));
    for at in [813, 830, 847, 864] {
        d[at..at + 16].fill(b'0'); // no date given (8.4.26.1)
    }
    d[881] = 1;
    d
}

/// The one entry of a path table: the root (ECMA-119, 9.4).
fn path_table(sector: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &sector, &parent, &[0, 0]].concat()
}

fn directory(files: &[&File<'_>]) -> Result<Vec<u8>, DeployIsoError> {
    let mut out = record(b"\x00", ROOT, SECTOR_BYTES, true);
    out.extend(record(b"\x01", ROOT, SECTOR_BYTES, true));
    for file in files {
        out.extend(record(file.name.as_bytes(), file.sector, file.bytes()?, false));
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
