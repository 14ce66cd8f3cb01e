//! The programs of the machine: started without a shell, with a clean environment, a deadline and a
//! bound on what they print.

use std::{
    fmt,
    io::{self, Read},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use undercloud_model::Secret;

/// The most that is kept of what a program prints on one of its outputs: the end counts.
const OUTPUT_MAX: usize = 64 << 10;
/// How long a connection may take that somebody takes at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an output may stay open after the program's end, by a child that it left.
const LINGER: Duration = Duration::from_secs(2);

/// A program to run.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name, found in the system's directories.
    pub program: &'static str,
    /// Its arguments. None is a secret: every process sees them.
    pub arguments: Vec<String>,
    /// Variables beside the few that every program gets.
    pub environment: Vec<(String, Secret)>,
    /// How long it may take.
    pub deadline: Duration,
}

impl Call {
    /// A program with arguments.
    pub fn new<A: Into<String>>(
        program: &'static str,
        deadline: Duration,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program, arguments, environment: Vec::new(), deadline }
    }

    /// As a person would type it.
    pub fn shown(&self) -> String {
        [&[self.program.to_owned()], &self.arguments[..]].concat().join(" ")
    }
}

/// How a program ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Whether its exit status was 0.
    pub success: bool,
    /// What it printed on its standard output.
    pub stdout: String,
    /// What it printed on its standard error.
    pub stderr: String,
}

impl Ended {
    /// A good end with this output.
    pub fn good(stdout: impl Into<String>) -> Self {
        Self { success: true, stdout: stdout.into(), stderr: String::new() }
    }

    /// A bad end with this complaint.
    pub fn bad(stderr: impl Into<String>) -> Self {
        Self { success: false, stdout: String::new(), stderr: stderr.into() }
    }

    /// The last lines that it printed that are not empty, complaints last.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let lines = self.stdout.lines().chain(self.stderr.lines());
        let lines: Vec<&str> = lines.filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|l| (*l).to_owned()).collect()
    }
}

/// Runs programs: the real ones, or a test's.
pub trait Programs: fmt::Debug + Send + Sync {
    /// Runs one to its end.
    ///
    /// # Errors
    /// It cannot be started, or did not end within its deadline.
    fn run(&self, call: &Call) -> io::Result<Ended>;

    /// Whether somebody takes a connection at `HOST:PORT`, an address and no name, within seconds.
    fn reaches(&self, authority: &str) -> bool {
        let Ok(address) = authority.parse() else { return false };
        TcpStream::connect_timeout(&address, CONNECT_MAX).is_ok()
    }
}

/// The programs of this machine.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Programs for ThisMachine {
    fn run(&self, call: &Call) -> io::Result<Ended> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(call.program);
        command
            .args(&call.arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("SYSTEMD_COLORS", "0")
            .envs(call.environment.iter().map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(Reader::start).transpose();
        let stderr = child.stderr.take().map(Reader::start).transpose();
        let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
            end(&mut child);
            return Err(io::Error::other("no thread for its output"));
        };
        if !ended_within(&child, call.deadline)? {
            end(&mut child);
            let seconds = call.deadline.as_secs();
            return Err(io::Error::other(format!("it did not end within {seconds} s")));
        }
        let success = child.wait()?.success();
        let text = |reader: Option<Reader>| reader.map(Reader::text).unwrap_or_default();
        Ok(Ended { success, stdout: text(stdout), stderr: text(stderr) })
    }
}

/// Ends a child and what it started.
fn end(child: &mut Child) {
    // It may have ended meanwhile; then there is nothing to kill.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// Waits for the child's end.
fn ended_within(child: &Child, deadline: Duration) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let began = std::time::Instant::now();
    loop {
        let left = deadline.saturating_sub(began.elapsed());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads an output so that the program never waits for us.
struct Reader {
    kept: Arc<Mutex<Vec<u8>>>,
    closed: mpsc::Receiver<()>,
}

impl Reader {
    fn start(mut output: impl Read + Send + 'static) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (close, closed) = mpsc::channel();
        let into = kept.clone();
        thread::Builder::new().name("output".into()).spawn(move || {
            let _close = close;
            let mut piece = [0u8; 4096];
            while let Ok(n @ 1..) = output.read(&mut piece) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..n]);
                if kept.len() > 2 * OUTPUT_MAX {
                    let surplus = kept.len() - OUTPUT_MAX;
                    kept.drain(..surplus);
                }
            }
        })?;
        Ok(Self { kept, closed })
    }

    fn text(self) -> String {
        // Ends with the thread, which drops its half of the channel.
        let _ = self.closed.recv_timeout(LINGER);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept[kept.len().saturating_sub(OUTPUT_MAX)..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline_ms: u64) -> io::Result<Ended> {
        let call = Call::new("sh", Duration::from_millis(deadline_ms), ["-c", script]);
        ThisMachine.run(&Call { environment: vec![("A".into(), Secret::new("b"))], ..call })
    }

    #[test]
    fn a_program_s_end_and_output_are_seen() {
        let ended = sh("echo out $A; echo err >&2; exit 3", 20_000).unwrap();
        assert!(!ended.success);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out b\n", "err\n"));
        assert_eq!(ended.last_lines(1), ["err"]);
        assert!(sh("exit 0", 20_000).unwrap().success);
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_its_children() {
        let error = sh("sleep 1000 & sleep 1000", 50).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn a_lot_of_output_is_cut_at_its_beginning() {
        let ended = sh("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end", 60_000).unwrap();
        assert!(ended.stdout.len() <= OUTPUT_MAX && ended.stdout.ends_with("x\nend\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let call = Call::new("no-such-program", Duration::from_secs(1), ["x"]);
        assert_eq!(ThisMachine.run(&call).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(call.shown(), "no-such-program x");
    }
}
