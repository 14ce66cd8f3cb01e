//! The way into a machine: the program that is started as process 1 of its namespaces puts its
//! root file system together, gives up what it must not have, and becomes the machine's own `init`.
//!
//! ```text
//! control groups ─► mounts, devices, masks ─► pivot_root ─► (unpack the ramdisk) ─► capabilities, calls
//!                                                                                    └► exec init
//! ```

mod calls;
mod capabilities;
mod devices;
mod masks;
mod mounts;

use std::{
    convert::Infallible, fs, io, io::Read as _, os::unix::process::CommandExt as _, path::Path,
    process::Command,
};

use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
    },
    process::{Signal, pivot_root, set_parent_process_death_signal},
    thread::UnshareFlags,
};

use crate::{
    CONTAINER, MachineError,
    guest::{Plan, System},
    images, initrd,
};

/// Becomes process 1 of a machine as `plan` (JSON) says. Returns only when that fails.
///
/// # Errors
/// What could not be done; the caller prints it on the machine's console and ends.
pub fn enter(plan: &str) -> Result<Infallible, MachineError> {
    // From here on, this process ends with the thread that started it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(MachineError::io("bind process 1 to the machine"))?;
    let plan: Plan = serde_json::from_str(plan)
        .map_err(|source| MachineError::Json { what: "the plan of a boot", source })?;
    enter_groups(&plan)?;
    // Of its own: pivot_root moves every thread of a namespace, and the machine's process outside
    // answers for images.
    leave(UnshareFlags::NEWNS).map_err(MachineError::io("take a mount namespace"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::system::sethostname(b"localhost").map_err(MachineError::io("set the host name"))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(MachineError::io("part from the host's mounts"))?;
    let socket = open_socket(&plan)?;
    let ramdisk = mount_root(&plan)?;
    let root = plan.root.as_std_path();
    mounts::mount_all(root)?;
    devices::make(root, &plan)?;
    masks::put(root, &plan)?;
    bind_socket(root, &socket)?;
    change_root(root)?;
    if let Some(bytes) = ramdisk {
        initrd::unpack(&bytes, Path::new("/"))?;
    }
    capabilities::drop_all()?;
    calls::refuse()?;
    let init = match plan.system {
        System::Ramdisk { .. } => "/init",
        System::Disk { .. } => "/sbin/init",
    };
    let error = Command::new(init)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TERM", "linux")
        .env("container", CONTAINER)
        .exec();
    Err(MachineError::io(format!("start {init}"))(error))
}

fn enter_groups(plan: &Plan) -> Result<(), MachineError> {
    for file in &plan.groups {
        fs::write(file, "0").map_err(MachineError::io(format!("enter a control group: {file}")))?;
    }
    leave(UnshareFlags::NEWCGROUP).map_err(MachineError::io("take a namespace of control groups"))
}

/// Mounts the root file system; gives the ramdisk's bytes when there is one to unpack.
fn mount_root(plan: &Plan) -> Result<Option<Vec<u8>>, MachineError> {
    let root = plan.root.as_std_path();
    match &plan.system {
        System::Ramdisk { initrd } => {
            let mut bytes = Vec::new();
            fs::File::open(initrd)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .map_err(MachineError::io("read the ramdisk"))?;
            mount(c"undercloud", root, c"tmpfs", MountFlags::empty(), Some(c"mode=0755"))
                .map_err(MachineError::io("mount memory for the ramdisk"))?;
            Ok(Some(bytes))
        }
        System::Disk { device, images } => {
            let mounted = mount(device.as_str(), root, c"ext4", MountFlags::empty(), None);
            mounted.map_err(MachineError::io(format!("mount the root file system on {device}")))?;
            for (image, device) in images {
                let at = join(root, image.at.as_str());
                let put = || -> io::Result<()> {
                    let mounted = images::mount(device)?;
                    fs::create_dir_all(&at)?;
                    images::attach(&mounted, &at)
                };
                put().map_err(MachineError::io(format!("mount the image at {}", image.at)))?;
            }
            Ok(None)
        }
    }
}

/// A path inside, seen from outside.
fn join(root: &Path, inside: &str) -> std::path::PathBuf {
    root.join(inside.trim_start_matches('/'))
}

/// Takes hold of the socket for images before the root file system lies over it.
fn open_socket(plan: &Plan) -> Result<OwnedFd, MachineError> {
    let path = plan.root.join(images::SOCKET);
    rustix::fs::open(path.as_std_path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(MachineError::io("find the machine's socket for images"))
}

fn bind_socket(root: &Path, socket: &OwnedFd) -> Result<(), MachineError> {
    let directory = join(root, "/run/undercloud-machine");
    let at = directory.join("machine.sock");
    let bind = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        fs::write(&at, "")?;
        Ok(mount_bind(format!("/proc/self/fd/{}", socket.as_raw_fd()), &at)?)
    };
    bind().map_err(MachineError::io("show the machine its socket for images"))
}

/// The machine's tree becomes `/`; the host's is let go of.
fn change_root(root: &Path) -> Result<(), MachineError> {
    let change = || -> io::Result<()> {
        std::env::set_current_dir(root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")?;
        // systemd wants its mounts to be seen by the units that it gives namespaces.
        Ok(mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?)
    };
    change().map_err(MachineError::io("change the root directory"))
}

#[expect(
    deprecated,
    reason = "deprecated for what UnshareFlags::FILES does to file descriptors; it is never given"
)]
fn leave(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}
