//! What `definitions` takes.

use clap::Subcommand;

/// What `definitions` does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DefinitionsCommand {
    /// List the files: those that ship, and what a site adds or puts in their place.
    List,
    /// Print one.
    Show {
        /// Its path, or the name of a service, a role or a container image.
        name: String,
        /// As it ships, whatever a site puts in its place.
        #[arg(long)]
        shipped: bool,
    },
    /// Check a site's files, without a cloud.
    Check,
}
