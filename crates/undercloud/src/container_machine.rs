//! This program as a machine of the lab that is a container: two commands that nobody types, and that
//! the command line's parser does not know.
//!
//! ```text
//! undercloud machine -uuid GUID SETTINGS    what the lab starts in QEMU's place
//! undercloud machine-inside PLAN            what that starts as process 1 of the machine
//! ```

use std::{ffi::OsString, fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use undercloud_machine::{Settings, enter};

/// Runs one of the two, when the arguments are one of theirs.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<String> =
        arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["machine", "-uuid", _, settings] => machine(settings),
        ["machine-inside", plan] => inside(plan),
        _ => return None,
    };
    let Err(error) = ended else { return Some(ExitCode::SUCCESS) };
    #[expect(clippy::print_stderr, reason = "the machine's log, or its console")]
    {
        eprintln!("undercloud machine: {error:#}");
    }
    Some(ExitCode::FAILURE)
}

fn machine(path: &str) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let settings: Settings =
        serde_json::from_slice(&bytes).with_context(|| format!("{path} is no machine"))?;
    Ok(undercloud_machine::run(&settings)?)
}

fn inside(plan: &str) -> Result<()> {
    // As process 1 alone: on the host it would change the host.
    if std::process::id() != 1 {
        bail!("this is for process 1 of a machine");
    }
    match enter(plan)? {}
}
