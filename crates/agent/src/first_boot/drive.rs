//! The config drive as a device: the partition named `config-2`, or, with virtual media, a whole
//! device whose file system has that label.
//!
//! It is looked for in the kernel's list, not by udev's links, and ISO 9660 is read here: neither
//! udev nor a kernel that knows the file system is needed. FAT is mounted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use undercloud_image::{
    configdrive::LABEL,
    iso9660::{IsoError, Volume},
};
use undercloud_model::inventory::is_device_name;

use crate::sys::Host;

/// Where it is mounted while it is read.
const MOUNT_POINT: &str = "/run/undercloud/config-drive";
/// The largest drive in which the key is looked for.
const DRIVE_MAX: u64 = 64 << 20;
/// Files on ISO 9660 and FAT begin at sectors.
const SECTOR: usize = 512;
/// The largest file that is read.
const FILE_MAX: u64 = 4 << 20;

/// Why there is no drive to read.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No device has the label.
    #[error("no partition or device is labelled `{LABEL}`; there are: {0}")]
    Missing(String),
    /// The device has the label and no file system that is known.
    #[error("{0} holds neither ISO 9660 nor FAT")]
    Unknown(PathBuf),
    /// The device's file system is not as it should be.
    #[error("cannot read {device}")]
    Iso {
        /// Which device.
        device: PathBuf,
        /// Why.
        #[source]
        source: IsoError,
    },
    /// The system refused.
    #[error("cannot {what} {device}")]
    Io {
        /// What.
        what: &'static str,
        /// Which device.
        device: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The file systems that a config drive may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Iso,
    Fat,
}

/// A config drive.
#[derive(Debug)]
pub(super) struct Drive {
    device: PathBuf,
}

impl Drive {
    /// Finds it: by the partition's name first, which costs no reading, then by label.
    pub(super) fn find(host: &Host) -> Result<Self, DriveError> {
        let mut names = host.names("sys/class/block");
        names.retain(|n| is_device_name(n));
        let node = |name: &String| host.path("dev").join(name.replace('!', "/"));
        let named = |name: &&String| {
            let uevent = host.text(format!("sys/class/block/{name}/uevent")).unwrap_or_default();
            uevent.lines().any(|l| l.strip_prefix("PARTNAME=") == Some(LABEL))
        };
        if let Some(name) = names.iter().find(named) {
            return Ok(Self { device: node(name) });
        }
        let labelled =
            |device: &PathBuf| probe(device).is_ok_and(|found| found.is_some_and(|f| f.1));
        match names.iter().map(node).find(labelled) {
            Some(device) => Ok(Self { device }),
            None => Err(DriveError::Missing(names.join(", "))),
        }
    }

    /// Its device, for people.
    pub(super) fn name(&self) -> String {
        self.device.display().to_string()
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> DriveError {
        let device = self.device.clone();
        move |source| DriveError::Io { what, device, source }
    }

    /// Opens it for reading.
    pub(super) fn open(&self) -> Result<Contents, DriveError> {
        match probe(&self.device).map_err(self.failed("read"))? {
            Some((FileSystem::Iso, _)) => {
                let device = File::open(&self.device).map_err(self.failed("read"))?;
                let volume = Volume::open(device)
                    .map_err(|source| DriveError::Iso { device: self.device.clone(), source })?;
                Ok(Contents::Iso(volume))
            }
            Some((FileSystem::Fat, _)) => self.mount("vfat").map(Contents::Mounted),
            None => Err(DriveError::Unknown(self.device.clone())),
        }
    }

    /// Mounts it, read-only.
    fn mount(&self, kind: &str) -> Result<Mounted, DriveError> {
        fs::create_dir_all(MOUNT_POINT).map_err(self.failed("make a place to mount"))?;
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount(&self.device, MOUNT_POINT, kind, flags, None)
            .map_err(|e| self.failed("mount")(e.into()))?;
        Ok(Mounted { device: self.device.clone(), mounted: true })
    }

    /// Overwrites the one file whose content is `content`, in place. The drive is not mounted.
    pub(super) fn erase(&self, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.device)?;
        let size = file.seek(SeekFrom::End(0))?;
        if size > DRIVE_MAX {
            return Err(io::Error::other("the drive is larger than 64 MiB"));
        }
        file.rewind()?;
        let mut drive = Vec::new();
        file.by_ref().take(DRIVE_MAX).read_to_end(&mut drive)?;
        let sectors = (0..drive.len()).step_by(SECTOR);
        let mut found = false;
        for at in sectors.filter(|at| drive[*at..].starts_with(content)) {
            file.write_all_at(&vec![0; content.len()], at as u64)?;
            found = true;
        }
        file.sync_all()?;
        if found { Ok(()) } else { Err(io::Error::other("it is not in one piece")) }
    }
}

/// A drive's files.
#[derive(Debug)]
pub(super) enum Contents {
    Iso(Volume<File>),
    Mounted(Mounted),
    /// A drive that is a directory.
    #[cfg(test)]
    Directory(PathBuf),
}

impl Contents {
    /// A file, or nothing where it is not there.
    pub(super) fn file(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Iso(volume) => volume.file(path, FILE_MAX).map_err(io::Error::other),
            Self::Mounted(_) => file_below(Path::new(MOUNT_POINT), path),
            #[cfg(test)]
            Self::Directory(dir) => file_below(dir, path),
        }
    }

    /// Lets go of the device.
    pub(super) fn close(self) -> Result<(), DriveError> {
        match self {
            Self::Iso(_) => Ok(()),
            Self::Mounted(mounted) => mounted.unmount(),
            #[cfg(test)]
            Self::Directory(_) => Ok(()),
        }
    }
}

fn file_below(dir: &Path, path: &str) -> io::Result<Option<Vec<u8>>> {
    let bounded = || {
        let mut bytes = Vec::new();
        File::open(dir.join(path))?.take(FILE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match bounded() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if io::Error::kind(&e) == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A mounted drive; dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct Mounted {
    device: PathBuf,
    mounted: bool,
}

impl Mounted {
    fn unmount(mut self) -> Result<(), DriveError> {
        self.mounted = false;
        unmount(MOUNT_POINT, UnmountFlags::empty()).map_err(|e| DriveError::Io {
            what: "unmount",
            device: self.device.clone(),
            source: e.into(),
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            // The error that led here is the one to report.
            let _ = unmount(MOUNT_POINT, UnmountFlags::DETACH);
        }
    }
}

/// Which file system a device holds, and whether it has our label.
fn probe(device: &Path) -> io::Result<Option<(FileSystem, bool)>> {
    let file = File::open(device)?;
    let mut sector = [0u8; 512];
    // ISO 9660's volume descriptor is in sector 16 of 2048 bytes; its label at 40 (ECMA-119, 8.4).
    if file.read_exact_at(&mut sector, 16 * 2048).is_ok() && &sector[1..6] == b"CD001" {
        return Ok(Some((FileSystem::Iso, is_label(&sector[40..72]))));
    }
    file.read_exact_at(&mut sector, 0)?;
    // FAT's boot sector names itself: FAT12 and FAT16 at 54, FAT32 at 82; the label is before it.
    Ok(match () {
        () if sector[82..87] == *b"FAT32" => Some((FileSystem::Fat, is_label(&sector[71..82]))),
        () if sector[54..57] == *b"FAT" => Some((FileSystem::Fat, is_label(&sector[43..54]))),
        () => None,
    })
}

fn is_label(field: &[u8]) -> bool {
    field.trim_ascii_end().eq_ignore_ascii_case(LABEL.as_bytes())
}

#[cfg(test)]
mod tests {
    use undercloud_image::configdrive::ConfigDrive;

    use super::*;

    fn host_with(drive: &[u8], uevent: &str) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["dev", "sys/class/block/vda", "sys/class/block/vda4"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        fs::write(dir.path().join("sys/class/block/vda4/uevent"), uevent).unwrap();
        fs::write(dir.path().join("dev/vda"), vec![0; 65536]).unwrap();
        fs::write(dir.path().join("dev/vda4"), drive).unwrap();
        let host = Host::below(dir.path());
        (dir, host)
    }

    fn iso(identity: &str) -> Vec<u8> {
        let mut drive = ConfigDrive::new();
        drive.file("undercloud/agent.json", identity).unwrap();
        drive.to_iso().unwrap()
    }

    #[test]
    fn found_by_partition_name_or_by_label() {
        for (drive, uevent) in
            [(vec![0; 65536], "DEVNAME=vda4\nPARTNAME=config-2\n"), (iso("{}"), "DEVNAME=vda4\n")]
        {
            let (_dir, host) = host_with(&drive, uevent);
            assert!(Drive::find(&host).unwrap().device.ends_with("dev/vda4"));
        }
        let (_dir, host) = host_with(&[0; 65536], "PARTNAME=root\n");
        assert_eq!(
            Drive::find(&host).unwrap_err().to_string(),
            "no partition or device is labelled `config-2`; there are: vda, vda4"
        );
    }

    #[test]
    fn its_files_are_read_without_the_kernel() {
        let (_dir, host) = host_with(&iso("{}"), "");
        let mut contents = Drive::find(&host).unwrap().open().unwrap();
        assert_eq!(contents.file("undercloud/agent.json").unwrap().unwrap(), b"{}");
        assert_eq!(contents.file("openstack/latest/meta_data.json").unwrap(), None);
        contents.close().unwrap();
    }

    #[test]
    fn a_damaged_drive_is_a_sentence() {
        let mut drive = iso("{}");
        drive.truncate(20 * 2048);
        let (_dir, host) = host_with(&drive, "");
        let mut contents = Drive::find(&host).unwrap().open().unwrap();
        let error = contents.file("undercloud/agent.json").unwrap_err();
        assert_eq!(
            crate::log::chain(&error),
            "cannot read the ISO 9660 file system: unexpected end of file"
        );
    }

    #[test]
    fn a_fat_label_counts_in_either_case() {
        let mut sector = vec![0u8; 65536];
        sector[54..62].copy_from_slice(b"FAT16   ");
        sector[43..54].copy_from_slice(b"CONFIG-2   ");
        let (_dir, host) = host_with(&sector, "");
        assert!(Drive::find(&host).unwrap().device.ends_with("dev/vda4"));
        assert_eq!(probe(&host.path("dev/vda4")).unwrap(), Some((FileSystem::Fat, true)));
    }

    #[test]
    fn the_key_is_gone_after_erasing_and_the_rest_is_not() {
        let secret = "{\"key\":\"not-for-others\"}";
        let before = iso(secret);
        let (_dir, host) = host_with(&before, "PARTNAME=config-2\n");
        let drive = Drive::find(&host).unwrap();
        drive.erase(secret.as_bytes()).unwrap();
        let after = fs::read(host.path("dev/vda4")).unwrap();
        assert!(!after.windows(14).any(|w| w == b"not-for-others"));
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!((before.len(), changed), (after.len(), secret.len()));
        assert!(drive.erase(secret.as_bytes()).is_err());
    }

    #[test]
    fn a_short_device_is_no_drive() {
        let (_dir, host) = host_with(b"short", "");
        assert!(matches!(Drive::find(&host), Err(DriveError::Missing(_))));
    }
}
