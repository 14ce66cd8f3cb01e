//! What goes wrong with a machine that is a container.

use std::io;

/// A failure, with what was being done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The kernel refused.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, with its object.
        operation: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program of the host failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
    /// The settings or the plan of a boot are no JSON of ours.
    #[error("cannot read {what}")]
    Json {
        /// Which.
        what: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The disk cannot be started from.
    #[error("the disk does not boot: {0}")]
    NoSystem(String),
    /// The initial ramdisk is none.
    #[error("the ramdisk cannot be unpacked: {0}")]
    Ramdisk(String),
    /// The host cannot carry such machines.
    #[error("{0}")]
    Host(String),
}

impl MachineError {
    /// Names the operation that an I/O error ended.
    pub(crate) fn io<E: Into<io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source: source.into() }
    }

    /// It and its causes in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Runs a program of the host to its end.
pub(crate) fn command(program: &str, args: &[&str], input: &str) -> Result<String, MachineError> {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let text = || format!("{program} {}", args.join(" "));
    let failed = |source| MachineError::Io { operation: format!("run `{}`", text()), source };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why in its own words.
        let _written = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(MachineError::Command { command: text(), said: format!("{} {said}", output.status) })
}

/// Where programs are looked for, whatever the caller's environment says.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
