//! What is no file: the running host's name, the size of the root file system, this machine's own
//! keys. Each failure is said and none stops the boot: a machine that answers is easier to mend.

use std::{
    io,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{major, minor, stat},
    system::sethostname,
};

use crate::{log::Log, sys::Host};

/// How long a child may take; emulated machines are slow.
const CHILD_DEADLINE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// One kind of key is enough, and an RSA key takes an emulated machine many seconds to find.
pub(crate) const HOST_KEY: &str = "etc/ssh/ssh_host_ed25519_key";

pub(super) fn settle(host: &Host, hostname: &Option<String>, log: &Log) {
    if let Some(Err(error)) = hostname.as_ref().map(|name| sethostname(name.as_bytes())) {
        log.say(format_args!("cannot set the host name: {error}"));
    }
    let machine_id = host.attribute("etc/machine-id");
    if machine_id.is_none_or(|id| id == "uninitialized") {
        child(log, "systemd-machine-id-setup", &[]);
    }
    match root_device(host) {
        Some((device, kind)) if kind.starts_with("ext") => child(log, "resize2fs", &[&device]),
        Some((device, kind)) => {
            log.say(format_args!("{device} holds {kind}: it keeps its size"));
        }
        None => log.say("the root file system's device is not known: it keeps its size"),
    }
    if host.has("etc/ssh") && !host.has(HOST_KEY) {
        let path = format!("/{HOST_KEY}");
        child(log, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &path]);
    }
}

/// The device under `/` and its file system.
fn root_device(host: &Host) -> Option<(String, String)> {
    let number = stat("/").ok()?.st_dev;
    let name = device_name(host, &format!("{}:{}", major(number), minor(number)))?;
    let kind = root_kind(&host.text("proc/self/mountinfo").ok()?)?;
    Some((format!("/dev/{name}"), kind))
}

/// The device with this number. Not by `/sys/dev/block`: in a container it is the host's list, whose
/// names are not those of this machine.
fn device_name(host: &Host, number: &str) -> Option<String> {
    let numbered = |name: &String| {
        host.attribute(format!("sys/class/block/{name}/dev")).as_deref() == Some(number)
    };
    let name = host.names("sys/class/block").into_iter().find(numbered)?;
    Some(name.replace('!', "/"))
}

/// The file system mounted on `/`: the field after ` - ` (proc(5), mountinfo). The last one counts:
/// it is on top.
fn root_kind(mountinfo: &str) -> Option<String> {
    let root = mountinfo.lines().rfind(|l| l.split_whitespace().nth(4) == Some("/"))?;
    Some(root.split_once(" - ")?.1.split_whitespace().next()?.to_owned())
}

fn child(log: &Log, program: &str, arguments: &[&str]) {
    match run(program, arguments) {
        Ok(true) => log.say(format_args!("{program} is done")),
        Ok(false) => log.say(format_args!("{program} failed; its output is above")),
        Err(error) => log.say(format_args!("cannot run {program}: {error}")),
    }
}

/// Runs a program to its end, or to the deadline. What it prints goes where ours goes.
fn run(program: &str, arguments: &[&str]) -> io::Result<bool> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut child = command.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if began.elapsed() > CHILD_DEADLINE {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_file_system_is_the_topmost() {
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n\
                    28 1 254:3 / / rw,relatime shared:1 - ext4 /dev/vda3 rw\n\
                    29 28 0:24 / /proc rw - proc proc rw\n";
        assert_eq!(root_kind(text).unwrap(), "ext4");
        assert_eq!(root_kind(""), None);
        assert_eq!(root_kind("1 1 0:2 / / rw"), None);
    }

    #[test]
    fn a_device_is_found_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        for (name, number) in [("vda", "259:0"), ("vda3", "259:3"), ("cciss!c0d0", "104:0")] {
            let at = dir.path().join("sys/class/block").join(name);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("dev"), format!("{number}\n")).unwrap();
        }
        let host = Host::below(dir.path());
        assert_eq!(device_name(&host, "259:3").as_deref(), Some("vda3"));
        assert_eq!(device_name(&host, "104:0").as_deref(), Some("cciss/c0d0"));
        assert_eq!(device_name(&host, "8:0"), None);
    }

    #[test]
    fn a_child_that_fails_is_told_from_one_that_is_not_there() {
        assert!(run("true", &[]).unwrap());
        assert!(!run("false", &[]).unwrap());
        assert_eq!(run("no-such-program", &[]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
