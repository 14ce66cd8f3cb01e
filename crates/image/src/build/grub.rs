//! What GRUB's installer would do to a disk, as changes of bytes: its programs want to see real
//! disks and mounted file systems, and we have neither.

use undercloud_model::Digest;

use super::BuildError;
use crate::{
    digest_of,
    gpt::{Guid, SECTOR_BYTES},
};

/// Modules in both core images.
const MODULES: [&str; 11] = [
    "part_gpt",
    "ext2",
    "search_fs_uuid",
    "normal",
    "linux",
    "configfile",
    "serial",
    "terminal",
    "echo",
    "test",
    "gzio",
];

/// The two core images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    Bios,
    Efi,
}

impl Platform {
    /// GRUB's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bios => "i386-pc",
            Self::Efi => "x86_64-efi",
        }
    }

    /// The modules that must be inside.
    pub(super) fn modules(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self {
            Self::Bios => &["biosdisk"],
            Self::Efi => &["fat", "efi_gop", "all_video"],
        };
        own.iter().copied().chain(MODULES)
    }
}

/// The first commands: find the root file system by its id.
pub(super) fn early_config(root: Guid) -> String {
    format!("search.fs_uuid {root} root\nset prefix=($root)/boot/grub\n")
}

/// An id for `what`, the same whenever the inputs are.
pub(super) fn id(inputs: &Digest, what: &str) -> Guid {
    Guid::from_digest(&digest_of(format!("{inputs} {what}").as_bytes()))
}

const SECTOR: usize = 512;
/// Where boot.img holds the sector of the core image (grub-core/boot/i386/pc/boot.S).
const BOOT_KERNEL_SECTOR: usize = 0x5c;
/// The jump that a floppy needs; two `nop` switch the test for it off.
const BOOT_DRIVE_CHECK: usize = 0x66;
/// The first block list entry of diskboot.img, the first sector of core.img.
const CORE_BLOCK_LIST: usize = SECTOR - 12;
/// The segment at which the rest of the core image is loaded: 0x8000 + one sector, in paragraphs.
const CORE_SEGMENT: u16 = 0x820;

/// Puts boot code into `head`, the first sector of the disk, and returns the core image as it must
/// be written to sector `core_sector`, in a partition of `room` bytes.
pub(super) fn embed(
    head: &mut [u8],
    boot: &[u8],
    core: &[u8],
    core_sector: u64,
    room: u64,
) -> Result<Vec<u8>, BuildError> {
    let wrong = |what: &'static str| BuildError::Grub { what };
    if boot.len() != SECTOR || head.len() < SECTOR {
        return Err(wrong("boot.img is not one sector long"));
    }
    let sectors = core.len().div_ceil(SECTOR);
    let rest = u16::try_from(sectors).ok().and_then(|n| n.checked_sub(1)).filter(|n| *n > 0);
    let rest = rest.ok_or(wrong("core.img is empty or larger than 32 MiB"))?;
    if core.len() as u64 > room {
        return Err(wrong("core.img is larger than its partition"));
    }
    if core_sector.checked_mul(SECTOR_BYTES).is_none() {
        return Err(wrong("core.img lies beyond the disk"));
    }
    // Bytes 440 and on belong to the protective MBR.
    head[..440].copy_from_slice(&boot[..440]);
    head[BOOT_KERNEL_SECTOR..][..8].copy_from_slice(&core_sector.to_le_bytes());
    head[BOOT_DRIVE_CHECK..][..2].copy_from_slice(&[0x90, 0x90]);
    let mut core = core.to_vec();
    core.resize(sectors * SECTOR, 0);
    core[CORE_BLOCK_LIST..][..8].copy_from_slice(&(core_sector + 1).to_le_bytes());
    core[CORE_BLOCK_LIST + 8..][..2].copy_from_slice(&rest.to_le_bytes());
    core[CORE_BLOCK_LIST + 10..][..2].copy_from_slice(&CORE_SEGMENT.to_le_bytes());
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_knows_the_core_and_the_core_its_rest() {
        let mut head = vec![0x77; 1024];
        let boot = vec![0x11; 512];
        let core = embed(&mut head, &boot, &[0x22; 1300], 2048, 1 << 20).unwrap();
        assert_eq!(head[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(head[0x66..0x68], [0x90, 0x90]);
        assert_eq!((head[439], head[440], head[512]), (0x11, 0x77, 0x77));
        assert_eq!(core.len(), 1536);
        assert_eq!(core[500..508], 2049u64.to_le_bytes());
        assert_eq!(core[508..512], [2, 0, 0x20, 0x08]);
        assert_eq!((core[499], core[512], core[1299], core[1300]), (0x22, 0x22, 0x22, 0));
    }

    #[test]
    fn files_that_cannot_be_these_are_refused() {
        let mut head = vec![0; 512];
        let boot = vec![0; 512];
        assert!(embed(&mut head, &boot[..100], &[0; 1300], 2048, 1 << 20).is_err());
        assert!(embed(&mut head, &boot, &[], 2048, 1 << 20).is_err());
        assert!(embed(&mut head, &boot, &[0; 512], 2048, 1 << 20).is_err());
        assert!(embed(&mut head, &boot, &vec![0; 40 << 20], 2048, u64::MAX).is_err());
        assert!(embed(&mut head, &boot, &[0; 1300], 2048, 1000).is_err());
        assert!(embed(&mut head, &boot, &[0; 1300], u64::MAX, 1 << 20).is_err());
    }
}
