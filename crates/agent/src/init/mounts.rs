//! The file systems that the kernel itself provides.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

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

/// Mounts those that are not there; what could not be mounted is returned as sentences, since there
/// may be no console to say them on before this.
///
/// A container finds them mounted by its host, with what it may not see left out: another one on top
/// would show it.
pub(super) fn mount_all() -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, target, source) in MOUNTS {
        // Where the directory is missing and cannot be made, mounting says so.
        let _ = fs::create_dir_all(target);
        if is_mount_point(Path::new(target)) {
            continue;
        }
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        match mount(source, target, kind, flags, None) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => problems.push(format!("cannot mount {kind} on {target}: {error}")),
        }
    }
    problems
}

/// Whether something is mounted there: it is another file system than the directory around it.
fn is_mount_point(target: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let (own, around) = (device(target), device(&target.join("..")));
    own.is_some() && own != around
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_seen() {
        // Wherever tests run, these two are.
        assert!(is_mount_point(Path::new("/proc")) && is_mount_point(Path::new("/dev")));
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        assert!(!is_mount_point(&plain), "nothing is there");
        fs::create_dir(&plain).unwrap();
        assert!(!is_mount_point(&plain));
    }
}
