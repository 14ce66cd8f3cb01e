//! `undercloud`: the command line and the daemon.
//!
//! Thin: it parses what was typed, calls the crate that does the work, and prints. Commands are in
//! [`cmd`], one file each; the daemon's wiring is in [`daemon`].

mod access;
mod agent_program;
mod cache_users;
mod cli;
mod clock;
mod cmd;
mod container_machine;
mod containers;
mod daemon;
mod daemon_client;
mod definitions;
mod failure;
mod images;
mod lab_host;
mod out;
mod preflight;
mod state;
mod typed;
mod verify;
mod waiting;
mod whole_file;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(ended) = container_machine::run(std::env::args_os().skip(1)) {
        return ended;
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return command_line(&error),
    };
    let format = cli.common.output;
    let state = typed::state_to_give(&cli.common).map(std::path::Path::to_owned);
    match cmd::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away, as `| head` does, is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is where the program's errors end")]
            {
                eprintln!("{}", typed::with_state(&failure::describe(&error), state.as_deref()));
            }
            out::Out::new(format).failed(failure::shown(&error, state.as_deref()));
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// Help, the version, or what is wrong with the command line: all in clap's words.
fn command_line(error: &clap::Error) -> ExitCode {
    let is_wrong = error.use_stderr();
    // Nobody may be left to read it.
    let _printed = error.print();
    if is_wrong && wants_json(std::env::args_os()) {
        out::Out::new(out::Format::Json).failed(failure::of_command_line(error));
    }
    ExitCode::from(if is_wrong { 2 } else { 0 })
}

/// Whether a command line that cannot be read asks for JSON all the same.
fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<OsString> = args.collect();
    let is = |arg: &OsString, texts: &[&str]| texts.iter().any(|text| arg == text);
    args.iter().any(|arg| is(arg, &["-ojson", "-o=json", "--output=json"]))
        || args.windows(2).any(|two| is(&two[0], &["-o", "--output"]) && is(&two[1], &["json"]))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
