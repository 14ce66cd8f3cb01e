//! The file systems that every Linux system expects, mounted for it because it may not be able to:
//! `/proc`, `/sys`, `/dev`, `/run`, `/tmp`, control groups.

use std::{fs, path::Path};

use rustix::mount::{MountFlags, mount};

use crate::MachineError;

/// Type, place, flags, options; in order.
const MOUNTS: &[(&str, &str, MountFlags, Option<&str>)] = &[
    ("proc", "proc", SAFE, None),
    // Read-only, which also tells udev to stay away (systemd, "Container Interface").
    ("sysfs", "sys", SAFE.union(MountFlags::RDONLY), None),
    ("cgroup2", "sys/fs/cgroup", SAFE, None),
    ("tmpfs", "dev", MountFlags::NOSUID, Some("mode=0755,size=4m")),
    ("devpts", "dev/pts", QUIET, Some("newinstance,ptmxmode=0666,mode=0620,gid=5")),
    ("tmpfs", "dev/shm", MountFlags::NOSUID.union(MountFlags::NODEV), Some("mode=1777")),
    ("mqueue", "dev/mqueue", SAFE, None),
    ("tmpfs", "run", MountFlags::NOSUID.union(MountFlags::NODEV), Some("mode=0755")),
    ("tmpfs", "tmp", MountFlags::NOSUID.union(MountFlags::NODEV), Some("mode=1777")),
];

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// Mounts all of them below `root`.
pub(super) fn mount_all(root: &Path) -> Result<(), MachineError> {
    for (kind, at, flags, options) in MOUNTS {
        let at = root.join(at);
        let failed =
            || MachineError::io::<std::io::Error>(format!("mount {kind} on {}", at.display()));
        fs::create_dir_all(&at).map_err(failed())?;
        let options = options.map(std::ffi::CString::new).transpose();
        let options = options.map_err(|error| failed()(error.into()))?;
        mount(*kind, &at, *kind, *flags, options.as_deref())
            .map_err(|error| failed()(error.into()))?;
    }
    Ok(())
}
