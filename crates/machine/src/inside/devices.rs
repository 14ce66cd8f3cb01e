//! `/dev`: the few nodes that a machine has, its own disk among them, and the names that udev would
//! give its partitions.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::mount_bind,
};

use crate::{MachineError, guest::Plan};

/// Character devices: name, major, minor (Linux, `Documentation/admin-guide/devices.txt`), mode.
const NODES: &[(&str, u32, u32, u32)] = &[
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
    ("fuse", 10, 229, 0o666),
    ("net/tun", 10, 200, 0o666),
];

const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// Makes them below `root`.
pub(super) fn make(root: &Path, plan: &Plan) -> Result<(), MachineError> {
    let dev = root.join("dev");
    let make = || -> io::Result<()> {
        fs::create_dir_all(dev.join("net"))?;
        fs::create_dir_all(dev.join("block"))?;
        for (name, major, minor, mode) in NODES {
            node(&dev.join(name), FileType::CharacterDevice, *major, *minor, *mode)?;
        }
        for (name, target) in LINKS {
            symlink(target, dev.join(name))?;
        }
        fs::write(dev.join("console"), "")?;
        mount_bind(plan.console.as_std_path(), dev.join("console"))?;
        for device in &plan.devices {
            let at = dev.join(&device.name);
            node(&at, FileType::BlockDevice, device.major, device.minor, 0o660)?;
            symlink(
                format!("../{}", device.name),
                dev.join(format!("block/{}:{}", device.major, device.minor)),
            )?;
            for link in &device.links {
                let at = dev.join("disk").join(link);
                if let Some(directory) = at.parent() {
                    fs::create_dir_all(directory)?;
                }
                // Two partitions may hold the same; the first one has the name.
                let _taken = symlink(format!("../../{}", device.name), at);
            }
        }
        Ok(())
    };
    make().map_err(MachineError::io("make the machine's device nodes"))
}

fn node(path: &Path, kind: FileType, major: u32, minor: u32, mode: u32) -> io::Result<()> {
    mknodat(CWD, path, kind, Mode::from_raw_mode(mode), makedev(major, minor))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
