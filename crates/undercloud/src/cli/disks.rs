//! What `node disks`, `node approve` and `node provide` take.

use clap::Args;
use undercloud_model::Digest;

use super::Nodes;

/// What `node disks` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct DisksArgs {
    /// Its name or UUID.
    pub(crate) node: String,
    /// As if all disks were erased, and not only the one for the system.
    #[arg(long)]
    pub(crate) all_disks: bool,
}

/// What `node approve` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApproveArgs {
    /// Its name or UUID.
    pub(crate) node: String,
    /// The digest that `node disks` printed.
    #[arg(required_unless_present = "withdraw")]
    pub(crate) digest: Option<Digest>,
    /// Take back what was agreed to.
    #[arg(long, conflicts_with = "digest")]
    pub(crate) withdraw: bool,
}

/// What `node provide` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProvideArgs {
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    /// Erase the metadata of all disks that are not removable.
    #[arg(long)]
    pub(crate) all_disks: bool,
}
