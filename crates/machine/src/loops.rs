//! Loop devices that detach themselves when their last user is gone, whatever ended it ("autoclear").
//!
//! `losetup` attaches a device and, in a second step, marks it. What does both is a program of its own,
//! in a process group of its own: a machine's process that is killed between the two steps does not
//! take it along. It holds the device until we do, or until our end of its input is closed, which the
//! kernel does for a process that was killed:
//!
//! ```text
//! attach ─► hold ─► mark ─► say which ─► wait for the end of input ─► let go
//! ```
//! What is left where that program is killed, too, is taken away by [`release`], when the machine is
//! looked at next.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    MachineError,
    error::{PATH, command},
};

/// While somebody has it open, `--detach` only marks a device (loop(4), LOOP_CLR_FD).
const ATTACH: &str = r#"set -e
device=$(losetup --find --show "$@")
exec 3<"$device"
losetup --detach "$device"
echo "$device"
read -r _ || :
"#;

/// What the holder of a device may do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Attaches a device; `args` are `losetup`'s, with the file last. It is there for as long as somebody
/// has it open, and so at least as long as what is given back.
pub(crate) fn attach(args: &[&str], access: Access) -> Result<(Utf8PathBuf, File), MachineError> {
    let text = || format!("losetup --find --show {}", args.join(" "));
    let failed = |source| MachineError::Io { operation: format!("run `{}`", text()), source };
    let mut child = Command::new("/bin/sh")
        .args(["-c", ATTACH, "sh"])
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said).map_err(failed)?;
    }
    let device = Utf8PathBuf::from(said.trim_end());
    let held = if device.as_str().is_empty() { None } else { Some(open(&device, access)) };
    // Closes its input: it lets go, and ends.
    let output = child.wait_with_output().map_err(failed)?;
    match held {
        Some(held) => Ok((device, held?)),
        None => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            let said = format!("{} {said}", output.status);
            Err(MachineError::Command { command: text(), said })
        }
    }
}

/// A file, shown as a device that cannot be written; the device that shows it already, if one does.
pub(crate) fn attach_read_only(file: &Utf8Path) -> Result<(Utf8PathBuf, File), MachineError> {
    if let Some(device) = showing(file)?.first()
        && let Ok(held) = open(device, Access::ReadOnly)
        // It may have gone to another file in between; held, it cannot any more.
        && showing(file)?.contains(device)
    {
        // Marked, if it is one that was left unmarked.
        command("losetup", &["--detach", device.as_str()], "")?;
        return Ok((device.clone(), held));
    }
    attach(&["--read-only", "--direct-io=on", file.as_str()], Access::ReadOnly)
}

/// Detaches what is left of a disk that no machine uses.
///
/// # Errors
/// When `losetup` fails.
pub fn release(disk: &Utf8Path) -> Result<(), MachineError> {
    for device in showing(disk)? {
        let detached = command("losetup", &["--detach", device.as_str()], "");
        // It may have gone by itself.
        if detached.is_err() && showing(disk)?.contains(&device) {
            return detached.map(drop);
        }
    }
    Ok(())
}

/// The devices that show a file.
fn showing(file: &Utf8Path) -> Result<Vec<Utf8PathBuf>, MachineError> {
    let args = ["--noheadings", "--output", "NAME", "-j", file.as_str()];
    let names = command("losetup", &args, "")?;
    let names = names.lines().map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(Utf8PathBuf::from).collect())
}

fn open(device: &Utf8Path, access: Access) -> Result<File, MachineError> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(access == Access::ReadWrite)
        .open(device)
        .map_err(MachineError::io(format!("open {device}")))
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a skipped test says why")]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_there_while_it_is_held_and_what_is_left_is_released() {
        if !rustix::process::geteuid().is_root() || !Utf8Path::new("/dev/loop-control").exists() {
            println!("skipped: needs root and loop devices");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8PathBuf::from_path_buf(dir.path().join("disk.raw")).unwrap();
        File::create(&file).unwrap().set_len(1 << 20).unwrap();
        let (device, held) = attach(&[file.as_str()], Access::ReadWrite).unwrap();
        assert_eq!(showing(&file).unwrap(), [device]);
        drop(held);
        assert_eq!(showing(&file).unwrap(), Vec::<Utf8PathBuf>::new());

        let left = command("losetup", &["--find", "--show", file.as_str()], "").unwrap();
        let (device, held) = attach_read_only(&file).unwrap();
        assert_eq!(device, left.trim(), "one that shows it is used");
        drop(held);
        assert_eq!(showing(&file).unwrap(), Vec::<Utf8PathBuf>::new(), "and is marked");

        command("losetup", &["--find", "--show", file.as_str()], "").unwrap();
        release(&file).unwrap();
        assert_eq!(showing(&file).unwrap(), Vec::<Utf8PathBuf>::new());

        let error = attach(&["/no/such/file"], Access::ReadWrite).unwrap_err().to_string();
        assert!(error.contains("losetup --find --show /no/such/file"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}
