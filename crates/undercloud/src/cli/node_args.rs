//! What `node undeploy`, `node power` and `node delete` take.

use clap::Args;

use super::{Nodes, PowerArg};

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
