//! What a machine must not see or change of the host, and what it must see as its own.
//!
//! | Path | Instead |
//! |---|---|
//! | `/sys/class/block`, `/sys/block` | its own disk and partitions |
//! | `/sys/class/net` | its own cards, each as hardware |
//! | `/proc/sys` | read-only, but `net` |
//! | `…/random/boot_id` | a new one for each boot |
//! | `/proc/cmdline` | what the boot script said |
//! | the host's memory, keys, timers | nothing |
//! | `/proc/sysrq-trigger` | a device that cannot be opened |

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use uuid::Uuid;

use crate::{MachineError, guest::Plan, network::card_name};

/// Restarts the host. Where a kernel has it, a write is refused: who is not told that it came to nothing
/// believes that it was done.
const SYSRQ: &str = "proc/sysrq-trigger";
const NOTHING: &[&str] = &[
    SYSRQ,
    "proc/kcore",
    "proc/keys",
    "proc/key-users",
    "proc/timer_list",
    "proc/sched_debug",
    "proc/kpagecount",
    "proc/kpageflags",
    "proc/kpagecgroup",
    "proc/kallsyms",
    "proc/mtrr",
];
/// Directories of the host's that show, or change, what is not the machine's.
const EMPTY: &[&str] = &[
    "proc/acpi",
    "proc/asound",
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/scsi",
    "sys/firmware",
    "sys/kernel/debug",
    "sys/kernel/tracing",
    "sys/kernel/security",
    "sys/fs/bpf",
    "sys/fs/pstore",
    "sys/power",
    "sys/module",
];

/// Puts them over the mounts below `root`.
pub(super) fn put(root: &Path, plan: &Plan) -> Result<(), MachineError> {
    let failed = |what: &str| MachineError::io::<io::Error>(format!("mask {what}"));
    cards(root, plan).map_err(failed("the host's network cards"))?;
    disks(root, plan).map_err(failed("the host's disks"))?;
    own_files(root, plan).map_err(failed("/proc"))?;
    for path in EMPTY {
        let at = root.join(path);
        // The machine must know whether the host's Open vSwitch is there.
        let shown = if *path == "sys/module" { Some("openvswitch") } else { None };
        if at.is_dir() {
            let known = shown.filter(|name| at.join(name).is_dir());
            empty(&at, known).map_err(failed(path))?;
        }
    }
    for path in NOTHING {
        let at = root.join(path);
        if at.exists() {
            let put = || -> io::Result<()> {
                mount_bind(root.join("dev/null"), &at)?;
                if *path == SYSRQ {
                    mount_remount(&at, MountFlags::BIND | MountFlags::NODEV, c"")?;
                }
                Ok(())
            };
            put().map_err(failed(path))?;
        }
    }
    sysctls(root).map_err(failed("/proc/sys"))
}

/// A read-only directory in memory.
fn in_memory(at: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"undercloud", at, c"tmpfs", flags, Some(c"mode=0755,size=1m"))?;
    fill(at)?;
    Ok(mount_remount(at, flags | MountFlags::RDONLY, c"mode=0755,size=1m")?)
}

fn empty(at: &Path, but: Option<&str>) -> io::Result<()> {
    in_memory(at, |at| but.map_or(Ok(()), |name| fs::create_dir(at.join(name))))
}

/// A card is hardware when it has a `device` (sysfs-class-net).
fn cards(root: &Path, plan: &Plan) -> io::Result<()> {
    // Seen from inside, where `/sys` is the same file system.
    let real = Path::new("sys/devices/virtual/net");
    in_memory(&root.join("sys/class/net"), |at| {
        for index in 0..plan.cards {
            let name = card_name(index);
            let card = at.join(&name);
            fs::create_dir_all(card.join("device"))?;
            for entry in fs::read_dir(root.join(real).join(&name))? {
                let entry = entry?.file_name();
                let target = PathBuf::from("/").join(real).join(&name).join(&entry);
                symlink(target, card.join(entry))?;
            }
        }
        symlink("/sys/devices/virtual/net/lo", at.join("lo"))
    })
}

fn disks(root: &Path, plan: &Plan) -> io::Result<()> {
    let fill = |at: &Path| -> io::Result<()> {
        for device in &plan.devices {
            let directory = match device.partition {
                None => at.join(&device.name),
                Some(_) => at.join(device.disk()).join(&device.name),
            };
            fs::create_dir_all(&directory)?;
            let write = |name: &str, text: String| fs::write(directory.join(name), text + "\n");
            write("size", (device.bytes / 512).to_string())?;
            write("dev", format!("{}:{}", device.major, device.minor))?;
            write("ro", "0".to_owned())?;
            let kind = match device.partition {
                None => {
                    fs::create_dir(directory.join("queue"))?;
                    write("queue/rotational", "0".to_owned())?;
                    write("queue/logical_block_size", "512".to_owned())?;
                    write("queue/physical_block_size", "512".to_owned())?;
                    write("removable", "0".to_owned())?;
                    write("hidden", "0".to_owned())?;
                    write("serial", device.serial.clone().unwrap_or_default())?;
                    "disk"
                }
                Some((number, start)) => {
                    write("partition", number.to_string())?;
                    write("start", (start / 512).to_string())?;
                    symlink(format!("{}/{}", device.disk(), device.name), at.join(&device.name))?;
                    "partition"
                }
            };
            let (major, minor, name) = (device.major, device.minor, &device.name);
            let text = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE={kind}");
            write("uevent", text)?;
        }
        Ok(())
    };
    in_memory(&root.join("sys/class/block"), fill)?;
    in_memory(&root.join("sys/block"), fill)
}

/// Files of this boot, kept where only the machine's root gets and bound over the host's.
fn own_files(root: &Path, plan: &Plan) -> io::Result<()> {
    let directory = root.join("run/undercloud-machine");
    fs::create_dir_all(&directory)?;
    let mut random = [0u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let boot_id = uuid::Builder::from_random_bytes(random).into_uuid();
    for (name, text, over) in [
        ("boot_id", boot_text(boot_id), "proc/sys/kernel/random/boot_id"),
        ("cmdline", format!("{}\n", plan.cmdline), "proc/cmdline"),
    ] {
        let file = directory.join(name);
        fs::write(&file, text)?;
        mount_bind(&file, root.join(over))?;
    }
    Ok(())
}

fn boot_text(id: Uuid) -> String {
    format!("{id}\n")
}

/// Settings of the kernel are the host's; those of the network are the machine's own.
fn sysctls(root: &Path) -> io::Result<()> {
    let all = root.join("proc/sys");
    let net = all.join("net");
    // With what lies over them already.
    mount_bind_recursive(&all, &all)?;
    mount_bind(&net, &net)?;
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(&all, flags | MountFlags::RDONLY, c"")?;
    Ok(())
}
