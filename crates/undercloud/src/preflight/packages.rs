//! The Debian packages that the host needs, as a table. Nothing but these is ever installed.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{Finding, apt};

/// A package, and the files of which one shows that it is there.
struct Package {
    name: &'static str,
    files: &'static [&'static str],
    why: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "iproute2", files: &["/usr/sbin/ip"], why: "the lab's networks" },
    Package { name: "nftables", files: &["/usr/sbin/nft"], why: "the lab's own rules" },
    Package { name: "iputils-ping", files: &["/usr/bin/ping"], why: "undercloud cloud verify" },
    Package { name: "util-linux", files: &["/usr/bin/setpriv"], why: "machines run unprivileged" },
    Package { name: "mmdebstrap", files: &["/usr/bin/mmdebstrap"], why: "images from packages" },
    Package { name: "podman", files: &["/usr/bin/podman"], why: "container images" },
    Package { name: "squashfs-tools", files: &["/usr/bin/mksquashfs"], why: "container images" },
    Package {
        name: "debian-archive-keyring",
        files: &["/usr/share/keyrings/debian-archive-keyring.gpg"],
        why: "the archive's signatures",
    },
    Package { name: "qemu-system-x86", files: &["/usr/bin/qemu-system-x86_64"], why: "machines" },
    // Debian 12's QEMU depends on it, Debian 13's does not.
    Package {
        name: "ipxe-qemu",
        files: &["/usr/lib/ipxe/qemu/pxe-virtio.rom", "/usr/share/qemu/pxe-virtio.rom"],
        why: "network boot of machines",
    },
    Package { name: "ovmf", files: &["/usr/share/OVMF/OVMF_CODE_4M.fd"], why: "UEFI machines" },
    Package { name: "ipmitool", files: &["/usr/bin/ipmitool"], why: "a second opinion on BMCs" },
    Package { name: "openssh-client", files: &["/usr/bin/ssh"], why: "undercloud ssh" },
];

impl Package {
    fn is_there(&self) -> bool {
        self.files.iter().any(|file| Path::new(file).exists())
    }
}

/// QEMU before 10 crashes guests under emulation (Debian 13's kernel, TCG: 4 boots of 32).
const QEMU_MAJOR_MIN: u32 = 10;

pub(super) fn check() -> Finding {
    let missing = missing();
    if missing.is_empty() {
        return Finding::ok(format!("{} packages, QEMU {}", PACKAGES.len(), qemu_version().1));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let why: Vec<String> = missing.iter().map(|p| format!("{} ({})", p.name, p.why)).collect();
    Finding::fail(
        format!("not installed or too old: {}", why.join(", ")),
        format!("undercloud preflight --install installs them: {}", names.join(" ")),
    )
}

fn missing() -> Vec<&'static Package> {
    PACKAGES
        .iter()
        .filter(|p| !p.is_there() || (p.name == "qemu-system-x86" && !qemu_is_new()))
        .collect()
}

fn qemu_is_new() -> bool {
    qemu_version().0 >= QEMU_MAJOR_MIN
}

/// Major version, and the whole as QEMU prints it.
fn qemu_version() -> (u32, String) {
    let output = Command::new("qemu-system-x86_64").arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let version = text.split_whitespace().nth(3).unwrap_or_default().to_owned();
    let major = version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or_default();
    (major, version)
}

/// Installs what is missing. Returns the names.
///
/// # Errors
/// When APT fails, with its last lines.
pub(crate) fn ensure() -> Result<Vec<&'static str>> {
    let names: Vec<&str> = missing().iter().map(|p| p.name).collect();
    if names.is_empty() {
        return Ok(names);
    }
    apt::install(&names).with_context(|| format!("cannot install {}", names.join(", ")))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_named_twice() {
        let mut names: Vec<_> = PACKAGES.iter().map(|p| p.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }
}
