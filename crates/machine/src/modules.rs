//! Modules of this host's kernel that machines on it cannot load for themselves.

use std::path::Path;

use crate::error::command;

/// Open vSwitch forwards in the kernel where they are there, and in a process of its own elsewhere;
/// virtual machines of the cloud are plugged into `tun`.
const WANTED: [&str; 3] = ["openvswitch", "geneve", "tun"];

/// Loads what is missing and this kernel has. Gives the names of what was loaded; it stays until the
/// host restarts.
pub fn load_modules() -> Vec<&'static str> {
    let modprobe = |module: &str| command("modprobe", &["--quiet", "--", module], "").is_ok();
    load(Path::new("/sys/module"), modprobe)
}

fn load(there: &Path, mut load: impl FnMut(&str) -> bool) -> Vec<&'static str> {
    let is_there = |name: &str| there.join(name).exists();
    // That a kernel has no such module, or none at all, is no fault: machines go without. One that is
    // built in may be there without a directory.
    let loads = |name: &&str| !is_there(name) && load(name) && is_there(name);
    WANTED.into_iter().filter(loads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_can_be_loaded_is_loaded_once() {
        let there = tempfile::tempdir().unwrap();
        std::fs::create_dir(there.path().join("tun")).unwrap();
        let mut asked = Vec::new();
        let loaded = load(there.path(), |name| {
            asked.push(name.to_owned());
            std::fs::create_dir(there.path().join(name)).unwrap();
            true
        });
        assert_eq!(loaded, ["openvswitch", "geneve"]);
        assert_eq!(asked, loaded);
        assert!(load(there.path(), |_| panic!("they are there")).is_empty());
    }

    #[test]
    fn a_kernel_that_has_none_goes_without() {
        let there = tempfile::tempdir().unwrap();
        assert!(load(there.path(), |_| false).is_empty());
        assert!(load(there.path(), |_| true).is_empty(), "it was built in");
    }
}
