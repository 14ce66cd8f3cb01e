//! `undercloud`: the command line and the daemon.
//!
//! Thin: it parses what was typed, calls the crate that does the work, and prints. Commands are in
//! [`cmd`], one file each; the daemon's wiring is in [`daemon`].

mod access;
mod cli;
mod clock;
mod cmd;
mod container_machine;
mod containers;
mod daemon;
mod daemon_client;
mod failure;
mod images;
mod lab_host;
mod out;
mod preflight;
mod state;
mod verify;
mod whole_file;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(ended) = container_machine::run(std::env::args_os().skip(1)) {
        return ended;
    }
    let cli = cli::Cli::parse();
    match cmd::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away, as `| head` does, is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is where the program's errors end")]
            {
                eprintln!("{}", failure::describe(&error));
            }
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
