//! Checks of the machine itself: user, system, toolchain, clock, memory, disk, kernel,
//! virtualisation.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use undercloud_lab::{Acceleration, QemuFiles, probe_virtualisation};

use super::Finding;
use crate::{agent_program, clock, out};

/// 2026-01-01T00:00:00Z: this program is younger than that, so an earlier clock is wrong.
const CLOCK_MIN_MS: i64 = 1_767_225_600_000;
/// Rust that this workspace needs (`rust-version` in Cargo.toml).
const RUST_MIN: (u32, u32) = (1, 95);
/// Left for the host beside the machines.
const HOST_MEMORY_BYTES: u64 = 1 << 30;

pub(super) fn root() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::ok("yes");
    }
    Finding::fail("this is not root: networks and machines cannot be made", "sudo ./up")
}

pub(super) fn system() -> Finding {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = os_release(&text, "PRETTY_NAME").unwrap_or_else(|| "unknown".into());
    match (os_release(&text, "ID").as_deref(), os_release(&text, "VERSION_ID").as_deref()) {
        (Some("debian"), Some("12" | "13")) => Finding::ok(name),
        _ => Finding::fail(
            format!("this is {name}; Debian 12 or 13 is needed"),
            "run this on a machine with Debian 12 or 13",
        ),
    }
}

fn os_release(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

/// The toolchain matters only where this binary was built from a checkout, which `./up` does.
pub(super) fn rust() -> Finding {
    let cargo = find_cargo();
    let version = Command::new(&cargo).arg("--version").output();
    let text = match &version {
        Ok(output) => String::from_utf8_lossy(&output.stdout),
        Err(_) => return Finding::note("cargo is not here; this binary runs without it"),
    };
    match cargo_version(&text) {
        Some(version) if version >= RUST_MIN => Finding::ok(text.trim().to_owned()),
        _ => Finding::fail(
            format!("`{}` is older than {}.{}", text.trim(), RUST_MIN.0, RUST_MIN.1),
            "rustup update stable",
        ),
    }
}

/// What goes into the images.
pub(super) fn agent() -> Finding {
    match agent_program::find() {
        Ok(place) => Finding::ok(place.text()),
        Err(error) => {
            Finding::fail(error.to_string(), "./up builds it; UNDERCLOUD_AGENT says where it is")
        }
    }
}

/// Cargo on the path, or, under sudo, the one of the person who typed sudo.
fn find_cargo() -> PathBuf {
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|p| p.join("cargo")).find(|p| p.exists())
    });
    let sudo_user = std::env::var_os("SUDO_USER");
    let of_user = sudo_user.map(|user| Path::new("/home").join(user).join(".cargo/bin/cargo"));
    on_path.or(of_user).unwrap_or_else(|| PathBuf::from("cargo"))
}

fn cargo_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("cargo ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn clock() -> Finding {
    let now = clock::now_ms();
    let text = clock::rfc3339(now);
    if now >= CLOCK_MIN_MS {
        return Finding::ok(text);
    }
    Finding::fail(
        format!("the clock says {text}: signatures and certificates would be refused"),
        "timedatectl set-ntp true",
    )
}

/// Memory for machines that are not there yet; those of a running lab are already counted.
pub(super) fn memory(machines_bytes: u64, machines_run: bool) -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(available) = meminfo_bytes(&text, "MemAvailable:") else {
        return Finding::note("/proc/meminfo does not tell");
    };
    let need = machines_bytes + HOST_MEMORY_BYTES;
    if machines_run || available >= need {
        return Finding::ok(format!("{} available", out::bytes(available)));
    }
    Finding::fail(
        format!("{} are available and {} are needed", out::bytes(available), out::bytes(need)),
        "give the machines less in lab.toml (memory), or end what uses the memory (top -o %MEM)",
    )
}

fn meminfo_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Room under `path`, or under its nearest parent that exists.
pub(super) fn disk(path: &Path, need_bytes: u64, machines_run: bool) -> Finding {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let free = match rustix::fs::statvfs(existing) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::fail(
                format!("cannot ask {} for its free space: {error}", existing.display()),
                format!("df -h {}", existing.display()),
            );
        }
    };
    let seen = format!("{} free at {}", out::bytes(free), existing.display());
    if machines_run || free >= need_bytes {
        return Finding::ok(seen);
    }
    Finding::fail(
        format!("{seen}; {} are needed", out::bytes(need_bytes)),
        format!(
            "free some (du -xh --max-depth=2 {}), or choose another --state and --cache",
            existing.display()
        ),
    )
}

/// Whether the kernel can make what a lab's network is made of: makes each in a namespace of its
/// own, which takes them all away again.
pub(super) fn kernel(tag: u32) -> Finding {
    let namespace = format!("uc-probe-{tag:08x}");
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    };
    let inside = |args: &[&str]| ip(&[&["-n", namespace.as_str()], args].concat());
    let _leftover_of_a_crash = ip(&["netns", "del", &namespace]);
    let result = ip(&["netns", "add", &namespace])
        .map_err(|e| ("network namespaces", e))
        .and_then(|()| {
            inside(&["link", "add", "name", "br0", "type", "bridge"]).map_err(|e| ("bridges", e))
        })
        .and_then(|()| {
            inside(&["tuntap", "add", "dev", "tap0", "mode", "tap"]).map_err(|e| ("tap devices", e))
        })
        .and_then(|()| {
            let veth = ["link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1"];
            inside(&veth).map_err(|e| ("veth pairs", e))
        });
    let _gone_with_all_in_it = ip(&["netns", "del", &namespace]);
    match result {
        Ok(()) => Finding::ok("network namespaces, bridges, taps, veth"),
        Err((what, error)) => Finding::fail(
            format!("this kernel cannot make {what}: {error}"),
            "modprobe bridge tun veth; in a container, give it CAP_NET_ADMIN, CAP_SYS_ADMIN and \
             /dev/net/tun",
        ),
    }
}

/// How machines will run here: found out by running a guest.
pub(super) fn virtualisation() -> Finding {
    let cure = "apt-get install --reinstall qemu-system-x86";
    let probe = async {
        let files = QemuFiles::find()?;
        probe_virtualisation(&files.qemu).await
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::fail(format!("no runtime: {error}"), "free some memory"),
    };
    match runtime.block_on(probe) {
        Ok(found) if found.acceleration == Acceleration::Kvm => {
            Finding::ok(format!("kvm: {}", found.reason))
        }
        Ok(found) => Finding::note(format!("emulation (tcg): {}", found.reason)),
        Err(error) => Finding::fail(format!("{:#}", anyhow::Error::new(error)), cure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system_are_read() {
        let release =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(os_release(release, "ID").unwrap(), "debian");
        assert_eq!(os_release(release, "VERSION_ID").unwrap(), "12");
        assert_eq!(os_release(release, "NOPE"), None);
        assert_eq!(
            meminfo_bytes("MemTotal: 5 kB\nMemAvailable:    2048 kB\n", "MemAvailable:"),
            Some(2 << 20)
        );
        assert_eq!(meminfo_bytes("MemAvailable: lots\n", "MemAvailable:"), None);
        assert_eq!(cargo_version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"), Some((1, 95)));
        assert_eq!(cargo_version("rustc 1.95.0"), None);
    }

    #[test]
    fn too_little_memory_names_both_figures() {
        let Finding::Fail { wrong, cure } = memory(1 << 60, false) else { panic!("must fail") };
        assert!(wrong.contains("are available and"), "{wrong}");
        assert!(cure.contains("lab.toml"), "{cure}");
    }

    #[test]
    fn a_full_disk_names_the_place() {
        let Finding::Fail { wrong, .. } = disk(Path::new("/nonexistent/a"), u64::MAX, false) else {
            panic!("must fail")
        };
        assert!(wrong.contains("free at /"), "{wrong}");
    }
}
