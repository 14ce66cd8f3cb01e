//! Lints that no compiler has: the house's rules, as a test. They read the tree and
//! `cargo metadata`, and know no exception but the lists in this folder, which may only shrink.

mod crates;
mod findings;
mod sources;

use anyhow::{Result, bail};

/// Runs every rule.
///
/// # Errors
/// When one is broken, after printing all that are.
pub(crate) fn run() -> Result<()> {
    let mut faults = sources::faults()?;
    faults.extend(crates::faults()?);
    if faults.is_empty() {
        return Ok(());
    }
    #[expect(clippy::print_stderr, reason = "the findings are this program's output")]
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} rules broken", faults.len())
}
