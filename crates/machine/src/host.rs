//! Whether this host can carry machines that are containers: looked at before one is made.

use std::path::Path;

use crate::{MachineError, cgroups::Trees, error::PATH};

/// Namespaces of the kernel that a machine has of its own (namespaces(7)).
const NAMESPACES: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
/// Programs that prepare a machine, and the packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("e2fsck", "e2fsprogs"),
    ("ip", "iproute2"),
    ("kill", "procps"),
    ("losetup", "mount"),
    ("resize2fs", "e2fsprogs"),
];

/// Looks at the kernel and the programs.
///
/// # Errors
/// What is missing, in a sentence.
pub fn can_carry() -> Result<(), MachineError> {
    let missing = |text: String| Err(MachineError::Host(text));
    Trees::of_host()?.refuse_devices().map_err(|error| {
        let text =
            "its control groups refuse no devices, so a machine could open this host's disks";
        MachineError::Host(format!("{text}: {error}"))
    })?;
    if !Path::new("/dev/loop-control").exists() {
        return missing("there is no /dev/loop-control; modprobe loop".to_owned());
    }
    for name in NAMESPACES {
        if !Path::new("/proc/self/ns").join(name).exists() {
            return missing(format!("its kernel has no namespaces of kind {name}"));
        }
    }
    for (program, package) in PROGRAMS {
        if !PATH.split(':').any(|directory| Path::new(directory).join(program).exists()) {
            return missing(format!("{program} is not installed; apt-get install {package}"));
        }
    }
    Ok(())
}
