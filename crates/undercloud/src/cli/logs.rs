//! What `logs` takes.

use clap::Args;

/// What `logs` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// A log's name.
    pub(crate) name: Option<String>,
    /// Go on with what is added to it, until Ctrl-C. With `-o json`, one value for each line.
    #[arg(long, short, requires = "name")]
    pub(crate) follow: bool,
    /// Begin with the last N lines; with all of them if no number is given.
    #[arg(long, short = 'n', value_name = "N", requires = "name")]
    pub(crate) lines: Option<u64>,
}
