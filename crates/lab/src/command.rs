//! Runs a program to its end: argument vector, no shell, own environment, a deadline.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::LabError;

/// Longest that one of the small programs may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where programs are looked for, whatever the caller's environment says.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `program` and gives what it printed.
pub(crate) async fn run(program: &str, args: &[&str]) -> Result<Vec<u8>, LabError> {
    run_with_input(program, args, "").await
}

/// The same with `input` for it to read.
pub(crate) async fn run_with_input(
    program: &str,
    args: &[&str],
    input: &str,
) -> Result<Vec<u8>, LabError> {
    let text = || format!("{program} {}", args.join(" "));
    let output = async {
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read to the end says why in its own words.
            let _written = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
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
    async fn input_is_read() {
        assert_eq!(run_with_input("cat", &[], "rules").await.unwrap(), b"rules");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run("no-such-program-here", &[]).await.unwrap_err();
        assert!(matches!(error, LabError::Spawn { program, .. } if program.starts_with("no-such")));
    }
}
