//! The deploy CD: ISO 9660 (ECMA-119, 4th edition) that BIOS and UEFI start from (El Torito 1.0),
//! as a CD and as a USB stick.
//!
//! ```text
//!  sector 0   boot sector and partition table, for a stick
//!        16   volume descriptor, boot record, end       17 names the catalog
//!        19   path tables, root directory, catalog      22: BIOS, UEFI
//!        32   IDENTITY: a cpio archive of fixed length, at a fixed place
//!        64   boot image for BIOS, one for UEFI, KERNEL, RAMDISK
//! ```
//! One CD is made for all machines. What one boot of one machine needs is its identity, which the
//! loader gives to the kernel as a second ramdisk: whoever sends the CD replaces [`IDENTITY_BYTES`]
//! at [`IDENTITY_OFFSET`] on the way, and no copy for a machine lies on a disk. As it is built the
//! place holds an identity of nobody, by which a CD of ours is known ([`Template::of`]).

use std::io;

use crate::cpio::{Archive, CpioError};

#[cfg(feature = "build")]
pub(crate) mod write;

/// Where in the CD the identity is.
pub const IDENTITY_OFFSET: u64 = 32 * 2048;
/// How much room it has.
pub const IDENTITY_BYTES: usize = 32 * 2048;

/// A part cannot be on a CD.
#[derive(Debug, thiserror::Error)]
pub enum DeployIsoError {
    /// A boot image has another shape than the loader's.
    #[error("the {0} image of the boot loader has another shape than expected")]
    Loader(&'static str),
    /// More than a CD's records can say.
    #[error("the deploy CD is too large")]
    TooLarge,
    /// The identity does not fit its place.
    #[error("an identity of {0} bytes does not fit a deploy CD")]
    Identity(usize),
    /// The place of the identity cannot be written.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// It cannot be read.
    #[error("the deploy CD cannot be read")]
    Read(#[source] io::Error),
    /// It was built by another version, or is none.
    #[error("the deploy CD has no place for an identity; build the images again")]
    Foreign,
}

/// The identity's place filled with `segment`, a cpio archive; zeros follow, which the kernel skips.
pub fn identity(segment: &[u8]) -> Result<Vec<u8>, DeployIsoError> {
    if segment.len() > IDENTITY_BYTES {
        return Err(DeployIsoError::Identity(segment.len()));
    }
    let mut place = segment.to_vec();
    place.resize(IDENTITY_BYTES, 0);
    Ok(place)
}

/// What is in the place before anybody's identity is.
fn nobody() -> Result<Vec<u8>, DeployIsoError> {
    let mut archive = Archive::new();
    archive.dir("etc", 0o755)?;
    archive.dir("etc/undercloud", 0o755)?;
    archive.file("etc/undercloud/nobody", 0o644, b"This CD was not made for a machine.\n")?;
    identity(&archive.finish())
}

/// A CD as it was built, with the identity of nobody.
#[derive(Debug)]
pub struct Template;

impl Template {
    /// Whether `cd` is one: only then may bytes be replaced in it.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn of(cd: &mut (impl io::Read + io::Seek)) -> Result<Self, DeployIsoError> {
        let mut place = vec![0; IDENTITY_BYTES];
        let at = io::SeekFrom::Start(IDENTITY_OFFSET);
        cd.seek(at).and_then(|_| cd.read_exact(&mut place)).map_err(DeployIsoError::Read)?;
        if place == nobody()? { Ok(Self) } else { Err(DeployIsoError::Foreign) }
    }
}
