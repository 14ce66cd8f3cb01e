//! What the agent says: one line at a time, to the console or the journal, and into the report of
//! the step that runs.
//!
//! Lines are bounded and hold no control characters, since some of their text comes from the
//! network. Secrets cannot get here: their type does not print.

use std::{
    fmt, fs,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What every line begins with.
pub const PREFIX: &str = "undercloud-agent: ";

/// The most lines that one report carries.
const LINES_MAX: usize = 500;
/// The longest line, in characters.
const LINE_MAX: usize = 600;

/// Where lines go. Cloning gives another handle on the same log.
#[derive(Clone)]
pub struct Log {
    sinks: Arc<Mutex<Vec<Box<dyn Write + Send>>>>,
    kept: Arc<Mutex<Kept>>,
}

/// What a report will carry.
#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    dropped: usize,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// A log that writes to all of `sinks`.
    pub fn new(sinks: Vec<Box<dyn Write + Send>>) -> Self {
        Self { sinks: Arc::new(Mutex::new(sinks)), kept: Arc::default() }
    }

    /// A log that writes to the same place and keeps its lines apart: for one of several steps
    /// that run at once.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { sinks: self.sinks.clone(), kept: Arc::default() }
    }

    /// A log on standard error, which systemd gives to the journal.
    pub fn stderr() -> Self {
        Self::new(vec![Box::new(io::stderr())])
    }

    /// A log on the machine's consoles: the kernel's, and the first serial port where the kernel
    /// does not already use it.
    pub fn console() -> Self {
        let open = |path: &str| fs::File::options().append(true).open(path).ok();
        let mut sinks: Vec<Box<dyn Write + Send>> = Vec::new();
        match open("/dev/console") {
            Some(console) => sinks.push(Box::new(console)),
            None => sinks.push(Box::new(io::stderr())),
        }
        let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        // /dev/console is the last console of the list; the others get nothing through it.
        if active.split_whitespace().last() != Some("ttyS0") {
            sinks.extend(open("/dev/ttyS0").map(|tty| Box::new(tty) as Box<dyn Write + Send>));
        }
        Self::new(sinks)
    }

    /// Says one line.
    pub fn say(&self, line: impl fmt::Display) {
        let line = one_line(&line.to_string());
        for sink in lock(&self.sinks).iter_mut() {
            // A console that cannot be written to is no reason to stop the work.
            let _ = sink.write_all(format!("{PREFIX}{line}\n").as_bytes());
        }
        let mut kept = lock(&self.kept);
        if kept.lines.len() < LINES_MAX {
            kept.lines.push(line);
        } else {
            kept.dropped += 1;
        }
    }

    /// What was said since the last call, for a report.
    pub fn take(&self) -> Vec<String> {
        let Kept { mut lines, dropped } = std::mem::take(&mut *lock(&self.kept));
        if dropped > 0 {
            lines.push(format!("({dropped} more lines were not kept)"));
        }
        lines
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `text` without control characters and bounded: fit for a console and a log.
pub fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.trim().chars().take(LINE_MAX).map(clean).collect();
    if text.trim().chars().nth(LINE_MAX).is_some() {
        line.push('…');
    }
    line
}

/// An error and its causes in one line: `cannot read /x: no such file`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_it_holds() {
        let sink = Shared::default();
        let log = Log::new(vec![Box::new(sink.clone())]);
        log.say("a\nb\x1b[2J");
        log.say("ü".repeat(2000));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("undercloud-agent: a b [2J\n"), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(log.take().iter().all(|l| l.chars().count() <= LINE_MAX + 1));
    }

    #[test]
    fn steps_at_once_keep_their_lines_apart() {
        let sink = Shared::default();
        let log = Log::new(vec![Box::new(sink.clone())]);
        let (a, b) = (log.fork(), log.fork());
        a.say("of a");
        b.say("of b");
        assert_eq!(
            (a.take(), b.take(), log.take()),
            (vec!["of a".into()], vec!["of b".into()], vec![])
        );
        assert_eq!(sink.0.lock().unwrap().iter().filter(|b| **b == b'\n').count(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_so() {
        let log = Log::new(Vec::new());
        for i in 0..LINES_MAX + 3 {
            log.say(i);
        }
        let lines = log.take();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines.last().unwrap(), "(3 more lines were not kept)");
        assert!(log.take().is_empty());
    }
}
