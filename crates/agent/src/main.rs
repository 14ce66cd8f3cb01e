//! Runs on the machines: in the ramdisk and in the installed system. See the library for what it
//! does; here is only how it was started.

use std::{
    env,
    io::{self, Write},
    process::{self, ExitCode},
};

use undercloud_agent::{VERSION, first_boot, init, installed, log, sys::Host};

const HELP: &str = "\
Runs on the machines of an undercloud: in the ramdisk and in the installed system.

Usage: undercloud-agent first-boot   once, before the network: reads the config drive
       undercloud-agent run          the service: asks the daemon for work
       undercloud-agent --version

As process 1 it is the ramdisk's /init.
";

fn main() -> ExitCode {
    if process::id() == 1 {
        init::run();
    }
    let mut arguments = env::args().skip(1);
    let command = arguments.next();
    let log = log::Log::stderr();
    let result = match (command.as_deref(), arguments.next()) {
        (Some("first-boot"), None) => {
            first_boot::run(&Host::this(), &log).map_err(|e| log::chain(&e))
        }
        (Some("run"), None) => installed::run(&Host::this(), &log).map_err(|e| log::chain(&e)),
        (Some("--version"), None) => say(&format!("undercloud-agent {VERSION}\n")),
        (Some("--help" | "help"), None) => say(HELP),
        _ => Err(format!("unknown command line; {HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(error);
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string())
}
