//! The commands, one file each.

mod bmc;
mod bmc_domain;
mod bmc_fleet;
mod bmc_read;
pub(crate) mod cloud;
mod cloud_plan;
mod container;
mod containers;
mod definitions;
mod down;
mod events;
mod follow;
mod image;
mod lab;
mod lab_clone;
mod lab_snapshot;
mod logs;
mod manual;
mod node;
mod node_agent;
mod node_disks;
mod node_verb;
mod preflight;
mod serve;
mod ssh;
mod status;
mod task;
mod up;

use anyhow::Result;

use crate::{
    cli::{Cli, Command, Common},
    out::Out,
    state::StateDir,
    typed,
};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) common: Common,
    pub(crate) state: StateDir,
    pub(crate) out: Out,
}

impl Context {
    /// `text`, with its commands as they have to be typed here.
    pub(crate) fn typed(&self, text: &str) -> String {
        typed::with_state(text, typed::state_to_give(&self.common))
    }
}

/// Runs what was typed.
///
/// # Errors
/// Those of the command, as a person should read them.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let context = Context {
        state: StateDir::new(&cli.common.state)?,
        out: Out::new(cli.common.output),
        common: cli.common,
    };
    match cli.command {
        Command::Up(args) => up::run(&context, &args),
        Command::Down { purge, force } => down::run(&context, purge, force),
        Command::Status => status::run(&context),
        Command::Preflight { install } => preflight::run(&context, install),
        Command::Serve(args) => serve::run(&context, args),
        Command::Image(command) => image::run(&context, command),
        Command::Container(command) => container::run(&context, command),
        Command::Lab(command) => lab::run(&context, command),
        Command::Bmc(command) => bmc::run(&context, &command),
        Command::Node(command) => node::run(&context, command),
        Command::Cloud(command) => cloud::run(&context, command),
        Command::Definitions(command) => definitions::run(&context, &command),
        Command::Containers { node } => containers::run(&context, &node),
        Command::Events(args) => events::run(&context, &args),
        Command::Completion { shell } => manual::completion(&context, shell),
        Command::Man { directory } => manual::pages(&context, &directory),
        Command::Logs(args) => logs::run(&context, &args),
        Command::Ssh { node, command } => ssh::run(&context, &node, &command),
    }
}
