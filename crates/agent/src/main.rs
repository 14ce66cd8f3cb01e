//! Runs on the machines: in the ramdisk and in the installed system. See the library for what it
//! does; here is only how it was started.

use std::{
    env,
    io::{self, Write},
    process::{self, ExitCode},
};

use undercloud_agent::{VERSION, cloud, container, first_boot, init, installed, log, sys::Host};

const HELP: &str = "\
Runs on the machines of an undercloud: in the ramdisk and in the installed system.

Usage: undercloud-agent first-boot   once, before the network: reads the config drive
       undercloud-agent run          the service: asks the daemon for work
       undercloud-agent guard        before the service, while a new agent is on trial: takes its place
                                     back when that one does not reach the daemon
       undercloud-agent mount-images DIGEST PATH
                                     in a container, at boot: asks the host for the images
       undercloud-agent yield-to URL …
                                     at boot: waits until these answer, for a minute at most
       undercloud-agent --version

As process 1 it is the ramdisk's /init.
";

fn main() -> ExitCode {
    if process::id() == 1 {
        init::run();
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = log::Log::stderr();
    let host = Host::this();
    let result = match arguments[..] {
        ["first-boot"] => first_boot::run(&host, &log).map_err(|e| log::chain(&e)),
        ["run"] => installed::run(&host, &log).map_err(|e| log::chain(&e)),
        ["guard"] => cloud::guard(&host, &log).map_err(|failure| failure.message),
        ["mount-images", blob, at] => mount_images(&host, blob, at),
        ["yield-to", ref urls @ ..] => {
            cloud::yield_to(&cloud::ThisMachine, urls, &log);
            Ok(())
        }
        ["--version"] => say(&format!("undercloud-agent {VERSION}\n")),
        ["--help" | "help"] => say(HELP),
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

fn mount_images(host: &Host, blob: &str, at: &str) -> Result<(), String> {
    let blob = blob.parse().map_err(|_| format!("`{blob}` is no digest"))?;
    container::mount_images(host, &blob, at).map_err(|e| log::chain(&e))
}

fn say(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string())
}
