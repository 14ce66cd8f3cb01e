//! The serial console for a person: the terminal goes raw, every key goes to the machine, and one
//! key comes back.
//!
//! Works without the daemon: QEMU's serial socket is in the machine's directory. A lock keeps a
//! second person from attaching to a port that would stay silent.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::net::UnixStream,
    },
};

use camino::Utf8Path;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr},
};
use undercloud_model::NodeName;

use crate::{LabError, LabNames};

/// Control-], as in telnet and `virsh console`.
pub const ESCAPE: u8 = 0x1d;

/// Why an attached console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The person pressed the escape key, or the input ended.
    Detached,
    /// The machine went off.
    PoweredOff,
}

/// Holds the console of the machine whose directory is `root` for one user, a person or a BMC.
///
/// # Errors
/// When somebody else holds it.
pub(crate) fn lock(root: &Utf8Path, machine: &NodeName) -> Result<std::fs::File, LabError> {
    let path = root.join("console.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(path.as_std_path(), flags, Mode::from_raw_mode(0o600))
        .map_err(|error| LabError::file("open", &path)(error.into()))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock.into()),
        Err(Errno::WOULDBLOCK) => Err(LabError::ConsoleBusy { machine: machine.clone() }),
        Err(error) => Err(LabError::file("lock", &path)(error.into())),
    }
}

/// The console of one machine, held for one person.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    _lock: std::fs::File,
}

impl Console {
    /// Attaches to the console of a machine of the lab in `state`.
    ///
    /// # Errors
    /// When the machine is off or unknown, or somebody else is attached.
    pub fn open(state: &Utf8Path, machine: &NodeName) -> Result<Self, LabError> {
        let root = LabNames::directory(state).join("machines").join(machine.as_str());
        if !root.is_dir() {
            let (machine, machines) = (machine.to_string(), Vec::new());
            return Err(LabError::NoSuchMachine { machine, machines });
        }
        let lock = lock(&root, machine)?;
        let vm = root.join("vm");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(vm.as_std_path(), flags, Mode::empty())
            .map_err(|error| LabError::file("open", &vm)(error.into()))?;
        let socket = format!("/proc/self/fd/{}/serial.sock", directory.as_raw_fd());
        let stream = UnixStream::connect(socket)
            .map_err(LabError::file("connect to", vm.join("serial.sock")))?;
        Ok(Self { stream, _lock: lock })
    }

    /// Carries bytes between the terminal and the machine until one of them ends it. A terminal is
    /// made raw and put back afterwards; something else (a pipe) is used as it is.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn run<I: io::Read + AsFd, O: io::Write>(
        mut self,
        mut input: I,
        mut output: O,
        escape: u8,
    ) -> io::Result<Ended> {
        let saved = RawTerminal::enter(&input)?;
        let ended = carry(&mut self.stream, &mut input, &mut output, escape);
        saved.leave(&input)?;
        ended
    }
}

fn carry<I: io::Read + AsFd, O: io::Write>(
    machine: &mut UnixStream,
    input: &mut I,
    output: &mut O,
    escape: u8,
) -> io::Result<Ended> {
    let mut buffer = [0u8; 4096];
    loop {
        let (from_machine, from_input) = {
            let mut fds = [
                PollFd::new(machine, PollFlags::IN),
                PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
        };
        if from_machine {
            match machine.read(&mut buffer)? {
                0 => return Ok(Ended::PoweredOff),
                count => {
                    output.write_all(&buffer[..count])?;
                    output.flush()?;
                }
            }
        }
        if from_input {
            let count = input.read(&mut buffer)?;
            let (keys, detached) = keys(&buffer[..count], escape);
            machine.write_all(keys)?;
            if detached || count == 0 {
                return Ok(Ended::Detached);
            }
        }
    }
}

/// What goes to the machine, and whether the escape key came after it.
fn keys(typed: &[u8], escape: u8) -> (&[u8], bool) {
    match typed.iter().position(|byte| *byte == escape) {
        Some(at) => (&typed[..at], true),
        None => (typed, false),
    }
}

/// A terminal's settings before it went raw.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter(terminal: &impl AsFd) -> io::Result<Self> {
        if !isatty(terminal) {
            return Ok(Self(None));
        }
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(Self(Some(before)))
    }

    fn leave(self, terminal: &impl AsFd) -> io::Result<()> {
        match self.0 {
            Some(before) => Ok(tcsetattr(terminal, OptionalActions::Flush, &before)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_before_the_escape_key_still_count() {
        assert_eq!(keys(b"ls\r", ESCAPE), (&b"ls\r"[..], false));
        assert_eq!(keys(b"ls\x1dmore", ESCAPE), (&b"ls"[..], true));
        assert_eq!(keys(b"", ESCAPE), (&b""[..], false));
    }

    #[test]
    fn bytes_go_both_ways_until_the_machine_ends() {
        let (mut ours, mut machine) = UnixStream::pair().unwrap();
        let (mut input, mut typist) = UnixStream::pair().unwrap();
        let person = std::thread::spawn(move || {
            let mut shown = Vec::new();
            let ended = carry(&mut ours, &mut input, &mut shown, ESCAPE).unwrap();
            (ended, shown)
        });
        typist.write_all(b"hello").unwrap();
        let mut got = [0u8; 5];
        machine.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        machine.write_all(b"login: ").unwrap();
        drop(machine);
        let (ended, shown) = person.join().unwrap();
        assert_eq!((ended, shown.as_slice()), (Ended::PoweredOff, &b"login: "[..]));
    }

    #[test]
    fn the_escape_key_detaches() {
        let (mut ours, mut machine) = UnixStream::pair().unwrap();
        let (mut input, mut typist) = UnixStream::pair().unwrap();
        typist.write_all(b"x\x1d").unwrap();
        let ended = carry(&mut ours, &mut input, &mut Vec::new(), ESCAPE).unwrap();
        assert_eq!(ended, Ended::Detached);
        drop(ours);
        let mut got = Vec::new();
        machine.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"x");
    }
}
