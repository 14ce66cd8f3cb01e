//! What agents logged: one file for each machine, and one with all of them.

use std::path::PathBuf;

use undercloud_model::UnixMillis;

use super::log_files;
use crate::clock;

/// The ramdisk agents' log; with a machine's name after it, that machine's alone.
pub(crate) const RAMDISK: &str = "ironic-python-agent";
/// The installed systems' agents' log, likewise.
pub(crate) const INSTALLED: &str = "overcloud-full";
/// The longest line that is kept, in bytes: agents are not trusted.
const LINE_BYTES_MAX: usize = 2000;
/// The most lines of one report that are kept.
const LINES_MAX: usize = 1000;

/// The agents' logs in a directory.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
}

impl Journal {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Adds what `machine`'s agent logged to its log and to the joined one of that name. A log that
    /// cannot be written is said in ours and stops nothing.
    pub(crate) fn append(&self, name: &str, machine: &str, now: UnixMillis, lines: &[String]) {
        let text: String =
            lines.iter().take(LINES_MAX).map(|line| render(machine, now, line)).collect();
        for name in [format!("{name}.log"), format!("{name}-{machine}.log")] {
            if let Err(error) = log_files::append(&self.folder, &name, &text) {
                tracing::warn!(%error, name, "agents' log not written");
            }
        }
    }
}

fn render(machine: &str, now: UnixMillis, line: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = line.chars().map(printable).collect();
    let end = (0..=LINE_BYTES_MAX.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
    text.truncate(end.unwrap_or_default());
    format!("{} {machine}: {text}\n", clock::rfc3339(now))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(
            render("compute-0", 0, "a\nb\x1b[2J"),
            "1970-01-01T00:00:00Z compute-0: a\u{fffd}b\u{fffd}[2J\n"
        );
    }

    #[test]
    fn both_logs_get_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().to_owned());
        journal.append(RAMDISK, "a", 0, &["one".into(), "x".repeat(9000)]);
        let joined = fs::read_to_string(dir.path().join("ironic-python-agent.log")).unwrap();
        assert_eq!(
            joined,
            fs::read_to_string(dir.path().join("ironic-python-agent-a.log")).unwrap()
        );
        assert!(joined.lines().all(|l| l.len() < 2100), "lines are bounded");
    }
}
