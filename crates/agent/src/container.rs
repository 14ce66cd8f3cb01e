//! Whether this machine is a container on its host's kernel: a lab machine without QEMU.
//!
//! The one place that knows the sign. Such a machine has its own disk, cards, processes and boot id,
//! and what belongs to the kernel belongs to the host: no module is loaded, the clock is not set.

use crate::sys::Host;

/// What the machine's process on the host gives to process 1 in the variable `container`, which
/// systemd passes on in [`SYSTEMD`].
const WORD: &str = "undercloud";
/// In the installed system (systemd.io/CONTAINER_INTERFACE).
const SYSTEMD: &str = "run/systemd/container";
/// In the ramdisk: the environment of process 1, which is the agent itself.
const ENVIRONMENT: &str = "proc/1/environ";

/// Whether this machine is a container of ours.
pub fn is_container(host: &Host) -> bool {
    if let Some(word) = host.attribute(SYSTEMD) {
        return word == WORD;
    }
    let environment = host.bytes(ENVIRONMENT).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable.strip_prefix(b"container=") == Some(WORD.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_our_word_makes_a_container_of_ours() {
        for (file, text, is_ours) in [
            (SYSTEMD, "undercloud\n", true),
            (SYSTEMD, "podman\n", false),
            (ENVIRONMENT, "HOME=/\0container=undercloud\0TERM=linux\0", true),
            (ENVIRONMENT, "container=undercloud-not\0", false),
            (ENVIRONMENT, "xcontainer=undercloud\0", false),
            (ENVIRONMENT, "", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(is_container(&Host::below(dir.path())), is_ours, "{file}: {text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_container(&Host::below(dir.path())));
    }
}
