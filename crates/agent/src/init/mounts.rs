//! The file systems that the kernel itself provides.

use std::fs;

use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
};

const MOUNTS: [(&str, &str, &str); 4] = [
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("tmpfs", "/run", "tmpfs"),
];

/// Mounts them; what could not be mounted is returned as sentences, since there may be no console
/// to say them on before this.
pub(super) fn mount_all() -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, target, source) in MOUNTS {
        // Where the directory is missing and cannot be made, mounting says so.
        let _ = fs::create_dir_all(target);
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        match mount(source, target, kind, flags, None) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => problems.push(format!("cannot mount {kind} on {target}: {error}")),
        }
    }
    problems
}
