//! What an image is: the record that the store keeps and the commands show.

use std::fmt;

use serde::{Deserialize, Serialize};
use undercloud_model::{Digest, UnixMillis};

/// One image: a name, and what its blob holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name people use: `overcloud-full`.
    pub name: String,
    /// What it is for.
    pub kind: ImageKind,
    /// The blob in the store, as it is transferred.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// How the blob is packed.
    pub encoding: Encoding,
    /// What comes out when the blob is unpacked; equal to `digest` and `size` where it is not packed.
    pub content: Content,
    /// The operating system inside, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsInfo>,
    /// The smallest disk it fits on; 0 for what is not written to a disk.
    pub min_disk_bytes: u64,
    /// Whether our agent is inside.
    pub has_agent: bool,
    /// When it was built or imported.
    pub built_at: UnixMillis,
    /// The digest of everything it was made from; for an imported image, its own.
    pub inputs: Digest,
}

impl Image {
    /// Whether it came from elsewhere: nobody here knows what is in it.
    pub fn is_imported(&self) -> bool {
        self.inputs == self.digest
    }
}

/// Length and digest of an unpacked image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 of the unpacked bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// A Linux kernel.
    Kernel,
    /// An initial ramdisk for such a kernel.
    Ramdisk,
    /// A whole disk: partition table, boot loaders, root file system.
    Disk,
    /// A network boot program (iPXE), served by TFTP or HTTP.
    NetbootProgram,
    /// A CD or a USB stick that machines start from.
    Iso,
    /// Podman's storage with every container image of the cloud, as a squashfs.
    ContainerStore,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Disk => "disk",
            Self::NetbootProgram => "netboot program",
            Self::Iso => "iso",
            Self::ContainerStore => "container store",
        })
    }
}

/// How a blob is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is.
    Plain,
    /// Zstandard frames (RFC 8878), see [`crate::frames`].
    Zstd,
}

/// The operating system inside an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsInfo {
    /// `debian`.
    pub distribution: String,
    /// `13`.
    pub version: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
}

/// Longest name of an image.
const NAME_BYTES_MAX: usize = 128;

/// A name that no image can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no image name: use letters, digits, `.`, `_` and `-`, and begin with a letter or digit"
)]
pub struct NoName(String);

/// Whether an image can have this name: it is a file's, a path's and a command's word.
///
/// # Errors
/// It cannot.
pub fn check_name(name: &str) -> Result<(), NoName> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal) {
        return Ok(());
    }
    Err(NoName(name.chars().take(80).collect::<String>().escape_debug().to_string()))
}

/// Names that `build` gives to what it makes.
pub mod names {
    use super::ImageKind;

    /// What an image of this name is, where the name is one of ours: nothing else can have it.
    pub fn kind_of(name: &str) -> Option<ImageKind> {
        match name {
            DEPLOY_KERNEL | OVERCLOUD_FULL_VMLINUZ | TEST_KERNEL => Some(ImageKind::Kernel),
            DEPLOY_RAMDISK | OVERCLOUD_FULL_INITRD | TEST_RAMDISK => Some(ImageKind::Ramdisk),
            DEPLOY_ISO => Some(ImageKind::Iso),
            OVERCLOUD_FULL => Some(ImageKind::Disk),
            IPXE_BIOS | IPXE_UEFI | IPXE_UEFI_FULL => Some(ImageKind::NetbootProgram),
            CONTAINER_STORE => Some(ImageKind::ContainerStore),
            _ => None,
        }
    }

    /// The kernel that machines boot from the network.
    pub const DEPLOY_KERNEL: &str = "bm-deploy-kernel";
    /// The ramdisk with our agent that goes with it.
    pub const DEPLOY_RAMDISK: &str = "bm-deploy-ramdisk";
    /// Both on a CD, for machines that start from virtual media.
    pub const DEPLOY_ISO: &str = "bm-deploy-iso";
    /// The whole-disk image of the cloud's machines.
    pub const OVERCLOUD_FULL: &str = "overcloud-full";
    /// The kernel inside it.
    pub const OVERCLOUD_FULL_VMLINUZ: &str = "overcloud-full-vmlinuz";
    /// The initial ramdisk inside it.
    pub const OVERCLOUD_FULL_INITRD: &str = "overcloud-full-initrd";
    /// The kernel of the server that `cloud verify` makes.
    pub const TEST_KERNEL: &str = "undercloud-test-kernel";
    /// The ramdisk that goes with it: all of that server's system.
    pub const TEST_RAMDISK: &str = "undercloud-test-ramdisk";
    /// iPXE for BIOS, on the network card's own driver (UNDI).
    pub const IPXE_BIOS: &str = "undionly.kpxe";
    /// iPXE for UEFI, on the firmware's network driver (SNP).
    pub const IPXE_UEFI: &str = "snponly.efi";
    /// Every container image of the cloud, for machines to mount.
    pub const CONTAINER_STORE: &str = "container-store";
    /// iPXE for UEFI with drivers of its own.
    pub const IPXE_UEFI_FULL: &str = "ipxe.efi";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        for name in ["a", "debian-13", "undionly.kpxe", "9_x"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-x", ".x", "a b", "../x", "a/b", "é", "a\n", &"x".repeat(129)] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.len() < 300 && !error.contains('\n'), "{error}");
        }
    }
}
