//! Servers that a benchmark starts, and what the kernel counts of them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// `USER_HZ` of every Linux (proc_pid_stat(5), `utime`).
const TICKS_PER_SECOND: f64 = 100.0;
pub(super) const MIB: f64 = 1_048_576.0;

/// A server; it ends when this is dropped.
pub(super) struct Server {
    child: Child,
    /// Kept open: a server that cannot print may end.
    _out: Option<BufReader<ChildStdout>>,
    /// What it said when it was ready.
    pub(super) ready: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it and waits for the line that begins with `ready`.
    pub(super) fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {name}"))?;
        let out = child.stdout.take().context("a child has no standard output")?;
        let mut out = BufReader::new(out);
        let mut server = Self { child, _out: None, ready: String::new() };
        loop {
            server.ready.clear();
            let read = out.read_line(&mut server.ready);
            ensure!(read.context("cannot listen to a server")? > 0, "{name} ended before its time");
            if let Some(at) = server.ready.find(ready) {
                let said = server.ready.split_off(at + ready.len());
                said.trim().clone_into(&mut server.ready);
                server._out = Some(out);
                return Ok(server);
            }
        }
    }

    /// Starts it; it says nothing when it is ready.
    pub(super) fn start_silent(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, _out: None, ready: String::new() })
    }

    /// What it prints.
    pub(super) fn output(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("a child has no standard output")
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot end a server")?;
        self.child.wait().context("a server has no end")?;
        Ok(())
    }

    /// Waits for its end, for so long; whether it still runs then.
    pub(super) fn runs_for(&self, time: Duration) -> Result<bool> {
        let handle = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        let handle = handle.context("a server has no handle")?;
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).context("a time is too long")?;
            let mut ends = [PollFd::new(&handle, PollFlags::IN)];
            match poll(&mut ends, Some(&left)) {
                Err(Errno::INTR) => {}
                ended => return Ok(ended.context("cannot wait for a server")? == 0),
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Files and sockets that it has open.
    pub(super) fn descriptors(&self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.child.id());
        Ok(fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.count())
    }

    /// Processor time that it has used, all threads together, those that have ended among them.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The second field is a name in parentheses and may have spaces.
        let (_, rest) = text.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let [user, system] =
            [11, 12].map(|at| fields.get(at).and_then(|it| it.parse::<f64>().ok()));
        let ticks = user.zip(system).with_context(|| format!("{path} has no times"))?;
        Ok((ticks.0 + ticks.1) / TICKS_PER_SECOND)
    }

    /// Memory that it has now (`VmRSS`, proc_pid_status(5)).
    pub(super) fn resident_mib(&self) -> Result<f64> {
        Ok(status_bytes(self.child.id().into(), "VmRSS:")? / MIB)
    }
}

/// A number of bytes of a process's status (proc_pid_status(5)).
pub(super) fn status_bytes(pid: u64, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
    let Some(kib) = kib else { bail!("{path} has no {field}") };
    Ok(kib.parse::<f64>().with_context(|| format!("{field} is no number"))? * 1024.0)
}
