//! What `node undeploy`, `node power`, `node delete` and `node agent` take.

use clap::{Args, Subcommand};

use super::{Nodes, PowerArg};

/// `undercloud node agent …`
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Give an installed machine its agent back, over ssh: identity, program, service.
    ///
    /// For a machine whose agent does not call, as when `/etc/undercloud/agent.json` is lost. Nothing is
    /// installed anew and no service of the cloud is touched; the agent gets a new key, and the one that
    /// it had is good for nothing any more. Run again it does the same again.
    Restore {
        /// The machine's name or UUID.
        node: String,
    },
}

/// What `node undeploy` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct UndeployArgs {
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    #[command(flatten)]
    pub(crate) force: Force,
}

/// What `node power` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct PowerArgs {
    /// What to do.
    #[arg(value_enum)]
    pub(crate) action: PowerArg,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    #[command(flatten)]
    pub(crate) force: Force,
}

/// What `node delete` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeleteArgs {
    /// Its name or UUID.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) force: Force,
}

/// Whether a machine of a cloud is no exception.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Force {
    /// Also if it is a machine of the cloud that is installed, or being installed.
    #[arg(long)]
    pub(crate) force: bool,
}
