//! Calls of cargo, and where it puts what it builds.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// What everything is built for (`.cargo/config.toml`).
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A call of the cargo that runs this program.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    as_if_typed(&mut command);
    command
}

/// Takes away what the cargo that runs this program says of *this* package. Build scripts look at
/// such variables (ring's does), and another value of one compiles all that depends on them anew.
pub(crate) fn as_if_typed(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if is_of_this_package(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
}

fn is_of_this_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|of_package| name.starts_with(of_package))
}

/// Runs cargo.
///
/// # Errors
/// When it says that something is wrong.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    let status = command().args(args).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", args.join(" "));
    }
    Ok(())
}

/// The directory that cargo builds into.
///
/// # Errors
/// When there is no current directory.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let target = PathBuf::from(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    Ok(env::current_dir().context("cannot tell the current directory")?.join(target))
}

/// Where the programs of a profile are: `debug` or `release`.
///
/// # Errors
/// When there is no current directory.
pub(crate) fn programs(profile: &Path) -> Result<PathBuf> {
    Ok(target_directory()?.join(TARGET).join(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_called_as_if_it_were_typed() {
        // Cargo gave this test what it gives the task.
        assert!(
            env::var_os("CARGO_PKG_NAME").is_some() && env::var_os("CARGO_MANIFEST_DIR").is_some()
        );
        let mut command = Command::new("env");
        as_if_typed(&mut command);
        let output = command.output().expect("env runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let left: Vec<&str> = said.lines().filter(|line| is_of_this_package(line)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(said.lines().any(|line| line.starts_with("PATH=")), "{said}");
        assert!(!is_of_this_package("CARGO_TARGET_DIR") && !is_of_this_package("CARGO_HOME"));
    }
}
