//! QEMU's process: found by the machine's system GUID on its command line, held by a descriptor
//! that cannot come to mean another process (pidfd).

use std::{io, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{io::unix::AsyncFd, time::timeout};
use uuid::Uuid;

/// What a machine's GUID follows on the command line of its process, whichever program that is.
pub(super) const GUID_OPTION: &str = "-uuid";

/// A process that is held.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    fd: AsyncFd<OwnedFd>,
    /// There when this program started it and so has to collect its exit status.
    child: Option<std::process::Child>,
}

impl Process {
    /// Holds a child.
    pub(crate) fn of_child(child: std::process::Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let mut process = Self::hold(pid)?;
        process.child = Some(child);
        Ok(process)
    }

    /// Finds the running QEMU of a machine.
    pub(crate) fn find(guid: Uuid, uid: u32) -> io::Result<Option<Self>> {
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if !is_machine(pid, guid, uid) {
                continue;
            }
            // First the descriptor, then a second look: in between, the number may have gone to
            // another process, afterwards it cannot.
            let Ok(process) = Self::hold(pid) else { continue };
            if is_machine(pid, guid, uid) && process.is_alive() {
                return Ok(Some(process));
            }
        }
        Ok(None)
    }

    fn hold(pid: i32) -> io::Result<Self> {
        let id = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        // Async readiness wants a descriptor that does not block.
        let fd = pidfd_open(id, PidfdFlags::NONBLOCK)?;
        Ok(Self { pid, fd: watched(fd)?, child: None })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Does it run? A process that ended and was not collected yet does not.
    pub(crate) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    }

    /// Waits for its end. Safe to cancel.
    pub(crate) async fn ended(&self) {
        // A pidfd becomes readable when the process ends, and stays so.
        while self.is_alive() {
            match self.fd.readable().await {
                Ok(mut guard) if self.is_alive() => guard.clear_ready(),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Waits for its end, but not longer than `deadline`. Did it end?
    pub(crate) async fn ends_within(&self, deadline: Duration) -> bool {
        timeout(deadline, self.ended()).await.is_ok()
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.fd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Collects the exit status of a child that has ended.
    pub(crate) fn collect(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }
}

#[expect(
    deprecated,
    reason = "deprecated for types whose descriptor changes; an OwnedFd keeps its own for life"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Is this process the QEMU of the machine, or about to become it? Any user can write anything on
/// a command line, so the process must also be the machine's user's, or root's (before the change
/// of user).
fn is_machine(pid: i32, guid: Uuid, uid: u32) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    if !names_machine(&line, guid) {
        return false;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().next())
        .and_then(|id| id.parse::<u32>().ok())
        .is_some_and(|id| id == uid || id == 0)
}

fn names_machine(command_line: &[u8], guid: Uuid) -> bool {
    let guid = guid.to_string();
    let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    arguments.windows(2).any(|pair| pair[0] == GUID_OPTION.as_bytes() && pair[1] == guid.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_command_line_names_a_machine_by_its_guid_alone() {
        let guid = Uuid::from_u128(7);
        let line = format!("qemu\0-uuid\0{guid}\0-m\0128M\0");
        assert!(names_machine(line.as_bytes(), guid));
        assert!(!names_machine(line.as_bytes(), Uuid::from_u128(8)));
        assert!(!names_machine(format!("grep\0{guid}\0").as_bytes(), guid));
        assert!(!names_machine(b"", guid));
    }

    #[tokio::test]
    async fn an_end_is_seen_and_a_kill_ends() {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut process = Process::of_child(child.unwrap()).unwrap();
        assert!(process.is_alive());
        assert!(!process.ends_within(Duration::from_millis(30)).await);
        process.kill().unwrap();
        assert!(process.ends_within(Duration::from_secs(10)).await);
        assert!(!process.is_alive());
        assert!(!process.collect().unwrap().success());
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn nobody_is_found_for_a_guid_that_nobody_has() {
        assert!(Process::find(Uuid::from_u128(1 << 100), 0).unwrap().is_none());
    }
}
