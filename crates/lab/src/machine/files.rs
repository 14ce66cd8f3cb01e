//! The files of one machine.
//!
//! ```text
//! <state>/lab/machines/NAME/      root, 0711    boot.json qemu.log nic.rom cd.* usb.*
//! <state>/lab/machines/NAME/vm/   its user, 0700  disk.raw disk1.raw vars.fd console.log *.sock
//! ```
//! QEMU's user owns `vm` alone, is started inside it and cannot name anything above it. So what
//! lies in `vm` is not trusted: links in it are not followed, and nothing of ours is kept there.
//! A CD or a USB stick (`cd.iso`, `usb.img`, each with a record, `.json`) may hold a secret: its
//! file can be read by that user alone, not by other machines' QEMU.

use std::{
    io::{self, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fd::OwnedFd,
    fs::{Gid, Mode, OFlags, Uid},
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use undercloud_durable::Access;
use undercloud_model::{BootMode, NodeName};

use super::{MachineDefinition, boot::Kept, media::MediaDrive};
use crate::{LabError, MachineKind, QemuFiles, console, option_rom};

const GIB: u64 = 1 << 30;
/// A console log that grew beyond this becomes `console.log.1` at the next start.
const CONSOLE_LOG_BYTES_MAX: u64 = 8 << 20;

/// Where one machine's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineFiles {
    root: Utf8PathBuf,
}

impl MachineFiles {
    pub(crate) fn new(root: Utf8PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn vm(&self) -> Utf8PathBuf {
        self.root.join("vm")
    }

    pub(crate) fn console_log(&self) -> Utf8PathBuf {
        self.vm().join("console.log")
    }

    /// Where a container's root file system is mounted, in its own mount namespace.
    pub(super) fn container_root(&self) -> Utf8PathBuf {
        self.root.join("root")
    }

    /// What the process of a container is told.
    pub(super) fn container_settings(&self) -> Utf8PathBuf {
        self.root.join("container.json")
    }

    pub(crate) fn qemu_log(&self) -> Utf8PathBuf {
        self.root.join("qemu.log")
    }

    fn boot(&self) -> Utf8PathBuf {
        self.root.join("boot.json")
    }

    pub(super) fn disk(&self) -> Utf8PathBuf {
        self.vm().join(disk_file(0))
    }

    /// The machine's disks in their order.
    pub(super) fn disks(&self, machine: &MachineDefinition) -> Vec<Utf8PathBuf> {
        (0..=machine.more_disks.len()).map(|index| self.vm().join(disk_file(index))).collect()
    }

    fn media(&self, drive: MediaDrive) -> Utf8PathBuf {
        self.root.join(drive.file())
    }

    fn media_record(&self, drive: MediaDrive) -> Utf8PathBuf {
        self.root.join(match drive {
            MediaDrive::Cd => "cd.json",
            MediaDrive::Usb => "usb.json",
        })
    }

    /// Makes what is missing: directories, empty disks, UEFI variables.
    pub(crate) fn create(
        &self,
        machine: &MachineDefinition,
        files: &QemuFiles,
    ) -> Result<(), LabError> {
        make_directory(&self.root, 0o711)?;
        make_directory(&self.vm(), 0o700)?;
        own(&self.vm(), machine.uid)?;
        for (path, disk) in self.disks(machine).iter().zip(machine.disks()) {
            if let Some(file) = create_new(path, machine.uid)? {
                let length = u64::from(disk.gib) * GIB;
                std::fs::File::from(file)
                    .set_len(length)
                    .map_err(LabError::file("set the size of", path))?;
            }
        }
        if machine.firmware == BootMode::Uefi && machine.kind == MachineKind::Qemu {
            let vars = self.vm().join("vars.fd");
            if let Some(file) = create_new(&vars, machine.uid)? {
                let content = std::fs::read(&files.ovmf_vars)
                    .map_err(LabError::file("read", &files.ovmf_vars))?;
                std::fs::File::from(file)
                    .write_all(&content)
                    .map_err(LabError::file("write", &vars))?;
            }
        }
        Ok(())
    }

    /// Makes the directory ready for a start: no sockets of an earlier QEMU, a boot ROM, a
    /// console log of bounded size.
    pub(crate) fn prepare_start(
        &self,
        machine: &MachineDefinition,
        files: &QemuFiles,
    ) -> Result<(), LabError> {
        self.create(machine, files)?;
        for name in ["qmp.sock", "serial.sock"] {
            remove(&self.vm().join(name))?;
        }
        if machine.firmware == BootMode::Bios && machine.kind == MachineKind::Qemu {
            self.write_rom(&files.bios_nic_rom)?;
        }
        let log = self.console_log();
        let size = std::fs::symlink_metadata(&log).map_or(0, |meta| meta.len());
        if size > CONSOLE_LOG_BYTES_MAX {
            let older = self.vm().join("console.log.1");
            std::fs::rename(&log, &older).map_err(LabError::file("rename", &log))?;
        }
        Ok(())
    }

    fn write_rom(&self, source: &Utf8Path) -> Result<(), LabError> {
        let rom = std::fs::read(source).map_err(LabError::file("read", source))?;
        let rom = option_rom::for_card(rom, option_rom::VIRTIO_NET)
            .map_err(|error| LabError::OptionRom { path: source.to_owned(), source: error })?;
        let path = self.root.join("nic.rom");
        std::fs::write(&path, rom).map_err(LabError::file("write", &path))?;
        // Read by QEMU's user; nobody else gets through the state directory.
        rustix::fs::chmod(path.as_std_path(), Mode::from_raw_mode(0o644))
            .map_err(|error| LabError::file("set the mode of", &path)(error.into()))
    }

    /// Opens the file that takes QEMU's own messages, empty.
    pub(crate) fn open_qemu_log(&self) -> Result<std::fs::File, LabError> {
        let path = self.qemu_log();
        std::fs::File::create(&path).map_err(LabError::file("create", &path))
    }

    /// What QEMU said last, without its remarks on CPU features.
    pub(crate) fn qemu_said(&self) -> String {
        let text = std::fs::read_to_string(self.qemu_log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("warning: ")).collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }

    pub(crate) async fn connect_qmp(&self) -> io::Result<UnixStream> {
        self.connect("qmp.sock").await
    }

    /// Holds the serial port for one user.
    pub(crate) fn lock_serial(&self, machine: &NodeName) -> Result<std::fs::File, LabError> {
        console::lock(&self.root, machine)
    }

    pub(crate) async fn connect_serial(&self) -> Result<UnixStream, LabError> {
        self.connect("serial.sock")
            .await
            .map_err(LabError::file("connect to", self.vm().join("serial.sock")))
    }

    /// Connects to a socket in `vm` through a descriptor: the address of a socket is limited to
    /// 107 bytes, a state directory's path is not.
    async fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let vm: OwnedFd = rustix::fs::open(self.vm().as_std_path(), flags, Mode::empty())?;
        UnixStream::connect(format!("/proc/self/fd/{}/{name}", vm.as_raw_fd())).await
    }

    /// The boot flags that were kept.
    pub(crate) fn read_boot(&self) -> Result<Kept, LabError> {
        let path = self.boot();
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| LabError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(LabError::file("read", path)(error)),
        }
    }

    pub(crate) fn write_boot(&self, kept: Kept) -> Result<(), LabError> {
        write_json(&self.boot(), &kept, 0o600)
    }

    /// What is in a drive.
    pub(crate) fn read_media(&self, drive: MediaDrive) -> Result<Option<InsertedMedia>, LabError> {
        let path = self.media_record(drive);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| LabError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LabError::file("read", path)(error)),
        }
    }

    /// Begins a medium that the machine's user alone will read.
    pub(crate) fn new_media(
        &self,
        drive: MediaDrive,
        machine: &MachineDefinition,
    ) -> Result<NewMedia, LabError> {
        let path = Utf8PathBuf::from(format!("{}.new", self.media(drive)));
        remove(&path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let make = || -> io::Result<std::fs::File> {
            let fd = rustix::fs::open(path.as_std_path(), flags, Mode::from_raw_mode(0o640))?;
            rustix::fs::fchown(&fd, None, Some(Gid::from_raw(machine.uid)))?;
            // Whatever the process's mask is.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o640))?;
            Ok(fd.into())
        };
        let file = make().map_err(LabError::file("create", &path))?;
        Ok(NewMedia { drive, file, path, is_kept: false })
    }

    /// Keeps a medium: from the record on it is in, also after a crash.
    pub(crate) fn keep_media(
        &self,
        mut new: NewMedia,
        media: &InsertedMedia,
    ) -> Result<(), LabError> {
        if !media.write_protected {
            rustix::fs::fchmod(&new.file, Mode::from_raw_mode(0o660))
                .map_err(|error| LabError::file("set the mode of", &new.path)(error.into()))?;
        }
        let path = self.media(new.drive);
        std::fs::rename(&new.path, path).map_err(LabError::file("rename", &new.path))?;
        new.is_kept = true;
        write_json(&self.media_record(new.drive), media, 0o600)
    }

    /// Forgets what is in a drive.
    pub(crate) fn remove_media(&self, drive: MediaDrive) -> Result<(), LabError> {
        remove(&self.media_record(drive))?;
        remove(&self.media(drive))
    }

    pub(crate) fn disk_used_mib(&self, machine: &MachineDefinition) -> u64 {
        let blocks = |path| std::fs::symlink_metadata(path).map_or(0, |meta| meta.blocks());
        self.disks(machine).into_iter().map(blocks).sum::<u64>() * 512 / (1 << 20)
    }

    pub(crate) fn remove(&self) -> Result<(), LabError> {
        match std::fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LabError::file("remove", &self.root)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The file of a machine's disk: `disk.raw`, then `disk1.raw` and on.
pub(super) fn disk_file(index: usize) -> String {
    if index == 0 { "disk.raw".to_owned() } else { format!("disk{index}.raw") }
}

/// What is in a drive of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertedMedia {
    /// Where the image came from.
    pub image: String,
    /// Whether the machine cannot write to it. What it writes stays in the lab's copy, and goes
    /// with it.
    #[serde(default = "yes")]
    pub write_protected: bool,
}

/// Records of earlier versions do not say it.
fn yes() -> bool {
    true
}

/// A medium that is being written. Dropped, it is gone.
#[derive(Debug)]
pub struct NewMedia {
    drive: MediaDrive,
    /// Takes the image's bytes.
    pub file: std::fs::File,
    path: Utf8PathBuf,
    is_kept: bool,
}

impl NewMedia {
    /// For which drive it is.
    pub(crate) fn drive(&self) -> MediaDrive {
        self.drive
    }
}

impl Drop for NewMedia {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "half a medium is left over");
        }
    }
}

/// Replaces a file as a whole: a reader, also one after a crash, sees the old or the new one.
pub(crate) fn write_json(
    path: &Utf8Path,
    value: &impl serde::Serialize,
    mode: u32,
) -> Result<(), LabError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| LabError::Damaged { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    undercloud_durable::replace(path.as_std_path(), &bytes, Access::mode(mode))
        .map_err(LabError::file("write", path))
}

/// Makes a directory with this mode, or leaves the one that is there.
pub(crate) fn make_directory(path: &Utf8Path, mode: u32) -> Result<(), LabError> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(LabError::file("create", path)(error)),
    }
    rustix::fs::chmod(path.as_std_path(), Mode::from_raw_mode(mode))
        .map_err(|error| LabError::file("set the mode of", path)(error.into()))
}

fn own(path: &Utf8Path, uid: u32) -> Result<(), LabError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::fs::chown(path.as_std_path(), Some(user), Some(group))
        .map_err(|error| LabError::file("set the owner of", path)(error.into()))
}

/// Makes a file for the machine's user, unless there is one. Links are not followed.
fn create_new(path: &Utf8Path, uid: u32) -> Result<Option<OwnedFd>, LabError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path.as_std_path(), flags, Mode::from_raw_mode(0o600)) {
        Ok(fd) => {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            rustix::fs::fchown(&fd, Some(user), Some(group))
                .map_err(|error| LabError::file("set the owner of", path)(error.into()))?;
            Ok(Some(fd))
        }
        Err(rustix::io::Errno::EXIST) => Ok(None),
        Err(error) => Err(LabError::file("create", path)(error.into())),
    }
}

fn remove(path: &Utf8Path) -> Result<(), LabError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
