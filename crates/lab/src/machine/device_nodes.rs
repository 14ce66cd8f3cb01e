//! Device nodes for a user who may not open the host's.
//!
//! QEMU opens `/dev/net/tun` and `/dev/kvm` by those names. Where udev runs everybody may open the
//! first and a group the second; in a minimal host both are root's alone. Nothing on the host is
//! changed for it: the thread that starts QEMU takes a mount namespace of its own and puts nodes
//! that belong to the machine's user over the host's, in memory. They end with QEMU.

use std::{io, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, Uid, makedev},
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change},
    thread::UnshareFlags,
};

/// A character device: path, major, minor (Linux, `Documentation/admin-guide/devices.txt`).
pub(crate) struct Device {
    path: &'static str,
    major: u32,
    minor: u32,
}

pub(crate) const TUN: Device = Device { path: "/dev/net/tun", major: 10, minor: 200 };
pub(crate) const KVM: Device = Device { path: "/dev/kvm", major: 10, minor: 232 };

/// Makes the devices usable for `uid` in the mount namespace of the calling thread alone. To be
/// called on a thread that ends soon: it does not come back into the host's mount namespace.
pub(crate) fn lend(uid: u32, devices: &[&Device]) -> io::Result<()> {
    let locked = |device: &&&Device| {
        let mode = std::fs::metadata(device.path).map(|meta| meta.permissions().mode());
        // A device that is not there stays away: QEMU says so better.
        mode.is_ok_and(|mode| mode & 0o006 != 0o006)
    };
    let locked: Vec<_> = devices.iter().filter(locked).collect();
    if locked.is_empty() {
        return Ok(());
    }
    leave_mount_namespace()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    // Over a directory that QEMU reads nothing else from.
    mount(c"undercloud", c"/dev/net", c"tmpfs", flags, Some(c"size=64k,mode=0755"))?;
    for device in devices {
        let Some(name) = Path::new(device.path).file_name() else { continue };
        let node = Path::new("/dev/net").join(name);
        let number = makedev(device.major, device.minor);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, &node, FileType::CharacterDevice, mode, number)?;
        rustix::fs::chown(&node, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
        if device.path == KVM.path && Path::new(device.path).exists() {
            mount_bind(&node, device.path)?;
        }
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "deprecated for what UnshareFlags::FILES does to file descriptors; this is NEWNS"
)]
fn leave_mount_namespace() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNS)?)
}
