//! File systems of images that a machine asks for: mounted from outside, read-only, because a
//! machine that may use loop devices may use every machine's disk.
//!
//! ```text
//! agent ── {"mount_images":{"sha256":…,"at":…}} ──► machine.sock ──► one line: ok or an error
//! ```
//! What was mounted is kept in a file beside the machine's directory, and is there again at the next
//! boot before anything starts.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        mount_change, move_mount,
    },
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use undercloud_durable::{Access, replace};

use crate::{MachineError, loops};

/// The socket's name in the memory that it lies in; inside it is bound at
/// `/run/undercloud-machine/machine.sock`. Not in the machine's directory: a file of the host's own
/// file system, bound inside, would give root there a handle to all others.
pub(crate) const SOCKET: &str = "machine.sock";
/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Mounts of one machine; an installation has two at most.
const MOUNTS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// An image and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageMount {
    /// Its digest, in hexadecimal digits.
    pub(crate) sha256: String,
    /// An absolute path inside the machine.
    pub(crate) at: Utf8PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    mount_images: ImageMount,
}

impl ImageMount {
    /// Refuses what is no digest or no plain path.
    fn check(self) -> Result<Self, String> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(digit) {
            return Err("sha256: write 64 hexadecimal digits in lower case".to_owned());
        }
        let mut parts = self.at.components();
        let plain = parts.next() == Some(Utf8Component::RootDir)
            && parts.clone().count() > 0
            && parts.all(|part| matches!(part, Utf8Component::Normal(_)));
        if plain { Ok(self) } else { Err("at: write an absolute path without `..`".to_owned()) }
    }

    fn blob(&self, blobs: &Utf8Path) -> Utf8PathBuf {
        blobs.join("sha256").join(&self.sha256[..2]).join(&self.sha256)
    }
}

/// A socket that is listened on for as long as this is there.
#[derive(Debug)]
pub(crate) struct Listening(UnixListener);

impl Drop for Listening {
    fn drop(&mut self) {
        // Wakes whoever waits in `accept`.
        let _ended_already = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

/// Answers what the machine asks.
#[derive(Debug)]
pub(crate) struct Images {
    blobs: Utf8PathBuf,
    record: Utf8PathBuf,
    /// Process 1 of the boot that runs.
    pub(crate) init: Arc<Mutex<Option<i32>>>,
}

impl Images {
    pub(crate) fn new(blobs: Utf8PathBuf, init: Arc<Mutex<Option<i32>>>) -> Self {
        Self { blobs, record: "images.json".into(), init }
    }

    /// Listens for one boot, in memory that is mounted on `root` for the calling thread, which has a
    /// mount namespace of its own.
    pub(crate) fn listen(self: &Arc<Self>, root: &Utf8Path) -> Result<Listening, MachineError> {
        let bind = || -> io::Result<UnixListener> {
            mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount(c"undercloud", root.as_std_path(), c"tmpfs", flags, c"size=64k")?;
            // The thread's own, as its mounts are; a socket's address is short.
            std::env::set_current_dir(root)?;
            UnixListener::bind(SOCKET)
        };
        let listener = bind().map_err(MachineError::io("listen for the machine's agent"))?;
        let listening = listener.try_clone().map(Listening);
        let images = self.clone();
        thread::Builder::new()
            .name("images".to_owned())
            .spawn(move || {
                // One at a time: a machine has one agent. Ends with the boot.
                while let Ok((stream, _)) = listener.accept() {
                    let _gone = images.serve(stream);
                }
            })
            .map_err(MachineError::io("start the thread for images"))?;
        listening.map_err(MachineError::io("listen for the machine's agent"))
    }

    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = Vec::new();
        BufReader::new(&stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let answer = match self.answer(&line) {
            Ok(()) => json!({ "ok": true }),
            Err(error) => json!({ "error": error }),
        };
        (&stream).write_all(format!("{answer}\n").as_bytes())
    }

    fn answer(&self, line: &[u8]) -> Result<(), String> {
        let request: Request = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let image = request.mount_images.check()?;
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        let init = init.ok_or("the machine is starting")?;
        let mut known = self.known();
        known.retain(|other| other.at != image.at);
        if known.len() >= MOUNTS_MAX {
            known.remove(0);
        }
        if !is_mounted(init, &image.at) {
            let mount = self.open(&image).map_err(|error| error.chain())?;
            put(mount, init, &image.at).map_err(|error| error.chain())?;
        }
        known.push(image);
        self.keep(&known).map_err(|error| error.chain())
    }

    /// What is mounted at each boot.
    pub(crate) fn known(&self) -> Vec<ImageMount> {
        let bytes = fs::read(&self.record).unwrap_or_default();
        let known: Vec<ImageMount> = serde_json::from_slice(&bytes).unwrap_or_default();
        known.into_iter().filter_map(|image| image.check().ok()).collect()
    }

    /// What is mounted before the system starts: each with the device that shows it, held open. An
    /// image that is gone is said and left out: the agent asks again and is told why.
    pub(crate) fn at_boot(&self, say: &dyn Fn(&str)) -> Vec<(ImageMount, Utf8PathBuf, File)> {
        let mut ready = Vec::new();
        for image in self.known() {
            match loops::attach_read_only(&image.blob(&self.blobs)) {
                Ok((device, held)) => ready.push((image, device, held)),
                Err(error) => say(&format!("machine: image {}: {}", image.sha256, error.chain())),
            }
        }
        ready
    }

    /// Forgets them: a new system is on the disk.
    pub(crate) fn forget(&self) {
        let _not_there = fs::remove_file(&self.record);
    }

    fn keep(&self, known: &[ImageMount]) -> Result<(), MachineError> {
        let failed = || MachineError::io::<io::Error>("keep which images are mounted");
        let bytes = serde_json::to_vec(known).map_err(|error| failed()(error.into()))?;
        replace(self.record.as_ref(), &bytes, Access::mode(0o644)).map_err(failed())
    }

    /// A mount that is nowhere yet.
    fn open(&self, image: &ImageMount) -> Result<OwnedFd, MachineError> {
        let blob = image.blob(&self.blobs);
        if !blob.is_file() {
            let text = format!("the undercloud has no image sha256:{}", image.sha256);
            return Err(MachineError::Host(text));
        }
        let (device, held) = loops::attach_read_only(&blob)?;
        let mounted = mount(&device).map_err(MachineError::io(format!("mount the image {blob}")));
        // The mount is the device's user now.
        drop(held);
        mounted
    }
}

/// An image's file system, mounted nowhere yet: nothing of it is seen on the host.
pub(crate) fn mount(device: &Utf8Path) -> io::Result<OwnedFd> {
    let fs = fsopen("squashfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", device.as_str())?;
    fsconfig_set_flag(fs.as_fd(), "ro")?;
    fsconfig_create(fs.as_fd())?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, read_only)?)
}

/// Puts a mount where it is wanted in the machine's own tree. What links lead to there is the
/// machine's own too.
fn put(mount: OwnedFd, init: i32, at: &Utf8Path) -> Result<(), MachineError> {
    let failed = || MachineError::io::<io::Error>(format!("mount at {at} in the machine"));
    let namespace = File::open(format!("/proc/{init}/ns/mnt")).map_err(failed())?;
    let at = at.to_owned();
    let work = move || -> io::Result<()> {
        leave_directories()?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        fs::create_dir_all(&at)?;
        attach(&mount, at.as_std_path())
    };
    let thread = thread::Builder::new().name("mount".to_owned()).spawn(work).map_err(failed())?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(failed())
}

/// Attaches a mount in the mount namespace of the calling thread.
pub(crate) fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), "", CWD, at, flags)?)
}

fn is_mounted(init: i32, at: &Utf8Path) -> bool {
    let table = fs::read_to_string(format!("/proc/{init}/mountinfo")).unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4) == Some(at.as_str()))
}

#[expect(
    deprecated,
    reason = "deprecated for what UnshareFlags::FILES does to file descriptors; this is FS"
)]
fn leave_directories() -> io::Result<()> {
    // A thread that shares its directories with others may not enter a mount namespace.
    Ok(rustix::thread::unshare(UnshareFlags::FS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_and_plain_paths_are_taken() {
        let digest = "ab".repeat(32);
        let image = |sha256: &str, at: &str| {
            ImageMount { sha256: sha256.to_owned(), at: at.into() }.check().is_ok()
        };
        assert!(image(&digest, "/var/lib/undercloud/images/ab"));
        for at in ["", "/", "relative", "/a/../b"] {
            assert!(!image(&digest, at), "{at}");
        }
        for sha256 in ["", "../../etc/shadow", &digest.to_uppercase(), &digest[1..]] {
            assert!(!image(sha256, "/a"), "{sha256}");
        }
    }

    #[test]
    fn a_line_that_is_no_request_is_refused() {
        let images = Images::new("/nowhere".into(), Arc::default());
        for line in ["", "{}", "[]", "{\"mount_images\":{}}", "{\"unmount\":1}"] {
            assert!(images.answer(line.as_bytes()).is_err(), "{line}");
        }
    }
}
