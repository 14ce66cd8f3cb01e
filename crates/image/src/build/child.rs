//! Child processes of a build: arguments as vectors, a small environment, every line of output into
//! the log, a deadline, and no survivor: also when we are killed.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process_group};

use super::BuildError;

/// Lines that an error shows of what the child said last.
const LAST_LINES: usize = 5;
/// Longer lines are cut in the log.
const LINE_BYTES_MAX: usize = 4096;

/// Where the lines go: one writer, shared by the steps that run at the same time.
pub(crate) struct Log<'a> {
    sink: Mutex<&'a mut (dyn Write + Send)>,
    began: Instant,
}

impl<'a> Log<'a> {
    pub(crate) fn new(sink: &'a mut (dyn Write + Send)) -> Self {
        Self { sink: Mutex::new(sink), began: Instant::now() }
    }

    /// Writes a line with the seconds since the beginning. A log that cannot be written does not stop a build.
    pub(crate) fn line(&self, who: &str, line: &str) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.began.elapsed().as_secs_f32();
        let _ = writeln!(sink, "{seconds:7.1} {who}: {}", line.trim_end());
        let _ = sink.flush();
    }
}

/// When we die, `setpriv` has the kernel kill `unshare`; that kills the first process of the process
/// namespace, and that all others in it (pid_namespaces(7)); with the last one the mounts go.
const ALONE: [&str; 11] = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
    "--",
];

/// A command that is about to be run.
pub(crate) struct Run {
    name: String,
    command: Command,
    deadline: Duration,
    quiet: bool,
}

impl Run {
    /// Runs `program` of the host.
    pub(crate) fn host(program: &str) -> Self {
        // The child ends when we die: `setpriv` sets that up and becomes the program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", program]);
        Self::with(program, command)
    }

    /// Runs `program` of the host alone: in namespaces of its own, which end with it. Whatever it
    /// starts ends when it does, or when we do, and so does whatever it mounts.
    pub(crate) fn alone(program: &str) -> Self {
        let mut command = Command::new(ALONE[0]);
        command.args(&ALONE[1..]).arg(program);
        Self::with(program, command)
    }

    /// Runs `program` inside the root directory `root`.
    pub(crate) fn inside(root: &Utf8Path, program: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "chroot", root.as_str(), program]);
        Self::with(program, command)
    }

    fn with(program: &str, mut command: Command) -> Self {
        command.env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // mke2fs and tar read file names: they need UTF-8, and nobody's language.
        command.env("LC_ALL", "C.UTF-8");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        for (key, value) in std::env::vars_os() {
            if is_proxy(&key) {
                command.env(key, value);
            }
        }
        command.process_group(0);
        Self { name: program.to_owned(), command, deadline: Duration::from_secs(120), quiet: false }
    }

    /// Keeps its output out of the log: it may hold secrets, or be long and dull.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end; its output goes to the log.
    pub(crate) fn run(self, log: &Log<'_>) -> Result<(), BuildError> {
        self.output(log).map(|_| ())
    }

    /// Like [`Run::run`]; returns what it wrote to its standard output (16 MiB at most).
    pub(crate) fn output(self, log: &Log<'_>) -> Result<String, BuildError> {
        self.feed(log, None::<fn(&mut ChildStdin) -> std::io::Result<()>>)
    }

    /// Like [`Run::run`], with `feed` writing to its standard input.
    pub(crate) fn run_with<F>(self, log: &Log<'_>, feed: F) -> Result<(), BuildError>
    where
        F: FnOnce(&mut ChildStdin) -> std::io::Result<()> + Send,
    {
        self.feed(log, Some(feed)).map(|_| ())
    }

    fn feed<F>(mut self, log: &Log<'_>, feed: Option<F>) -> Result<String, BuildError>
    where
        F: FnOnce(&mut ChildStdin) -> std::io::Result<()> + Send,
    {
        let stdin = if feed.is_some() { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let arguments: Vec<String> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        log.line("run", &arguments.join(" "));
        let name = self.name.clone();
        let mut child = self
            .command
            .spawn()
            .map_err(|source| BuildError::Start { program: name.clone(), source })?;
        let until = Instant::now() + self.deadline;
        let guard = Group { child: &mut child, done: false };
        let (fed, collected) = thread::scope(|scope| {
            let (tell, hear) = channel();
            if let Some(out) = guard.child.stdout.take() {
                let tell = tell.clone();
                scope.spawn(move || lines(out, true, &tell));
            }
            if let Some(err) = guard.child.stderr.take() {
                scope.spawn(move || lines(err, false, &tell));
            } else {
                drop(tell);
            }
            let feeder = guard
                .child
                .stdin
                .take()
                .zip(feed)
                .map(|(mut stdin, feed)| scope.spawn(move || feed(&mut stdin)));
            let collected = collect(&hear, until, &name, (!self.quiet).then_some(log));
            if collected.late {
                guard.kill();
            }
            let fed = feeder.map_or(Ok(()), |f| {
                f.join().unwrap_or_else(|_| Err(std::io::Error::other("the feeder panicked")))
            });
            (fed, collected)
        });
        let status = guard.wait().map_err(|source| BuildError::Start { program: name, source })?;
        self.judge(status, fed, collected)
    }

    fn judge(
        self,
        status: ExitStatus,
        fed: std::io::Result<()>,
        collected: Collected,
    ) -> Result<String, BuildError> {
        let Collected { late, last, output } = collected;
        if late {
            return Err(BuildError::Late { program: self.name, seconds: self.deadline.as_secs() });
        }
        if !status.success() {
            let said = last.join("\n");
            return Err(BuildError::Child { program: self.name, status, said });
        }
        match fed {
            Ok(()) => Ok(output),
            Err(source) => Err(BuildError::Feed { program: self.name, source }),
        }
    }
}

fn is_proxy(key: &OsString) -> bool {
    key.to_str().is_some_and(|k| k.to_ascii_lowercase().ends_with("_proxy"))
}

/// Kills the whole group when it is dropped before the child has ended.
struct Group<'a> {
    child: &'a mut Child,
    done: bool,
}

impl Group<'_> {
    fn kill(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn wait(mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.done = true;
        Ok(status)
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

struct Collected {
    late: bool,
    last: Vec<String>,
    output: String,
}

fn collect(
    hear: &std::sync::mpsc::Receiver<(bool, String)>,
    until: Instant,
    name: &str,
    log: Option<&Log<'_>>,
) -> Collected {
    let mut collected = Collected { late: false, last: Vec::new(), output: String::new() };
    loop {
        match hear.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((is_output, line)) => {
                if let Some(log) = log {
                    log.line(name, &line);
                }
                if is_output && collected.output.len() < 16 << 20 {
                    collected.output.push_str(&line);
                    collected.output.push('\n');
                }
                if collected.last.len() == LAST_LINES {
                    collected.last.remove(0);
                }
                collected.last.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return collected,
            Err(RecvTimeoutError::Timeout) => {
                collected.late = true;
                return collected;
            }
        }
    }
}

fn lines(source: impl Read, is_output: bool, tell: &Sender<(bool, String)>) {
    let mut source = BufReader::new(source);
    loop {
        let mut line = Vec::new();
        let read = source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        if !matches!(read, Ok(n) if n > 0) {
            return;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if tell.send((is_output, text)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_log<T>(work: impl FnOnce(&Log<'_>) -> T) -> (T, String) {
        let mut sink = Vec::new();
        let result = work(&Log::new(&mut sink));
        (result, String::from_utf8(sink).unwrap())
    }

    #[test]
    fn output_is_returned_and_logged() {
        let (out, log) = with_log(|log| Run::host("echo").args(["a b", "c"]).output(log));
        assert_eq!(out.unwrap(), "a b c\n");
        assert!(log.contains("echo: a b c"), "{log}");
    }

    #[test]
    fn a_failure_shows_what_was_said_last() {
        let run = Run::host("ls").arg("/nowhere at all");
        let (result, _) = with_log(|log| run.run(log));
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("`ls` failed") && text.contains("nowhere at all"), "{text}");
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let began = Instant::now();
        let run = Run::host("sleep").arg("60").deadline(Duration::from_millis(100));
        let (result, _) = with_log(|log| run.run(log));
        assert!(matches!(result, Err(BuildError::Late { .. })));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_runs_alone_dies_with_us_and_so_do_its_children_and_mounts() {
        if !rustix::process::geteuid().is_root() {
            println!("not root: nothing can be mounted, and this test shows nothing");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap();
        // A child that would go on for long, as dpkg does, and holds our pipe as long as it lives.
        let work = format!(
            "mount -t tmpfs none {point} && touch {point}/in && echo up && sleep 600 & wait"
        );
        // Somebody in our place, who can be killed.
        let mut we = Command::new("sh");
        we.args(["-c", "\"$@\"; exit", "sh"]).args(ALONE).args(["sh", "-c", &work]);
        let mut we = we.stdout(Stdio::piped()).spawn().unwrap();
        let (tell, hear) = channel();
        let out = we.stdout.take().unwrap();
        let reader = thread::spawn(move || lines(out, true, &tell));
        let hang = Duration::from_secs(60);
        assert_eq!(hear.recv_timeout(hang).unwrap().1, "up");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(point), "nobody else sees what is mounted");
        we.kill().unwrap();
        we.wait().unwrap();
        // The pipe ends when the last who holds it is gone.
        assert_eq!(hear.recv_timeout(hang), Err(RecvTimeoutError::Disconnected));
        reader.join().unwrap();
    }

    #[test]
    fn what_runs_alone_says_how_it_ended() {
        if !rustix::process::geteuid().is_root() {
            println!("not root: no namespace can be made, and this test shows nothing");
            return;
        }
        let (out, _) = with_log(|log| Run::alone("echo").arg("x").output(log));
        assert_eq!(out.unwrap(), "x\n");
        let (result, _) = with_log(|log| Run::alone("sh").args(["-c", "exit 7"]).run(log));
        let BuildError::Child { status, .. } = result.unwrap_err() else { panic!("another error") };
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn standard_input_is_fed() {
        let run = Run::host("sha256sum");
        let (out, _) =
            with_log(|log| run.feed(log, Some(|w: &mut ChildStdin| w.write_all(b"abc"))));
        assert!(out.unwrap().starts_with("ba7816bf"));
    }
}
