//! Runs a program to its end: argument vector, no shell, own environment, a deadline.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use crate::LabError;

/// Longest that one of the small programs may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where programs are looked for, whatever the caller's environment says.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `program` and gives what it printed.
pub(crate) async fn run(program: &str, args: &[&str]) -> Result<Vec<u8>, LabError> {
    let text = || format!("{program} {}", args.join(" "));
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, output)
        .await
        .map_err(|_| LabError::CommandTimeout { command: text(), deadline: DEADLINE })?
        .map_err(|source| LabError::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(LabError::CommandFailed {
        command: text(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_says_what_was_run_and_what_it_said() {
        let error = run("ls", &["/no such place"]).await.unwrap_err().to_string();
        assert!(error.contains("`ls /no such place`"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run("no-such-program-here", &[]).await.unwrap_err();
        assert!(matches!(error, LabError::Spawn { program, .. } if program.starts_with("no-such")));
    }
}
