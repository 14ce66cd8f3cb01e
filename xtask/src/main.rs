//! Development tasks. `cargo xtask ci` is what CI runs before the end-to-end run, and what a
//! developer runs before a commit.

mod bench;
mod cargo;
mod dist;
mod fuzz;
mod suite;
mod tidy;

use std::{env, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;

const HELP: &str = "\
cargo xtask ci            fmt, clippy, tidy, tests, doctests; compiles the fuzz targets: all that needs no machine
cargo xtask bench cloud   images to a verified cloud and what comes after, beside budgets: --rounds=3 --qemu --cold
cargo xtask bench bmc     virtual BMCs beside VirtualBMC and sushy-tools (ten minutes); --dev: the development build
cargo xtask bench nodes   ten thousand machines in memory and one daemon, beside budgets: --count=N --minutes=5 --dev
cargo xtask dist          the release: one static program, and a package of Debian; --dev: of the development build
cargo xtask fuzz [NAME [SECONDS]]  fuzz targets: all of them with the same inputs each time, or one for so long
cargo xtask suite NAME…   long scenarios on real parts, by name; without one, lists them
cargo xtask tidy          sizes, module docs, dependency arrows, licences, banned crates
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is where the program's errors end")]
            {
                eprintln!("xtask: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let here = env::current_dir().context("cannot tell the current directory")?;
    env::set_current_dir(root_of(&here)?).context("cannot enter the checkout")?;
    match env::args().nth(1).as_deref() {
        Some("ci") => ci(),
        Some("tidy") => tidy::run(),
        Some("bench") => bench(),
        Some("dist") => dist::run(env::args().nth(2).as_deref() == Some("--dev")),
        Some("fuzz") => fuzz::by_name(env::args().nth(2).as_deref(), env::args().nth(3).as_deref()),
        Some("suite") => suite::run(&env::args().skip(2).collect::<Vec<_>>()),
        _ => bail!("which task?\n{HELP}"),
    }
}

/// The checkout that this was called in: where every task begins. Not the one that this program was
/// compiled in: checkouts may share the directory that they build into.
fn root_of(here: &Path) -> Result<&Path> {
    here.ancestors()
        .find(|folder| folder.join("xtask/Cargo.toml").is_file())
        .with_context(|| format!("{} is in no checkout of undercloud", here.display()))
}

fn bench() -> Result<()> {
    match env::args().nth(2).as_deref() {
        Some("cloud") => bench::cloud(&env::args().skip(3).collect::<Vec<_>>()),
        Some("nodes") => bench::nodes(&env::args().skip(3).collect::<Vec<_>>()),
        Some("bmc") => bench::bmc(env::args().nth(3).as_deref() == Some("--dev")),
        _ => bail!("which bench?\n{HELP}"),
    }
}

fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    tidy::run()?;
    cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])?;
    cargo(&["test", "--workspace", "--doc", "--quiet"])?;
    fuzz::compile()?;
    advisories()
}

/// Licences and bans are tidy's; what is known of a crate's faults is in a database that only
/// cargo-deny reads.
fn advisories() -> Result<()> {
    let has_deny = cargo::command().args(["deny", "--version"]).output();
    if !has_deny.is_ok_and(|output| output.status.success()) {
        say(
            "advisories: NOT LOOKED UP: cargo-deny is not installed (cargo install --locked cargo-deny)",
        );
        return Ok(());
    }
    cargo(&["deny", "check", "advisories"])
}

/// What a task says.
#[expect(clippy::print_stdout, reason = "this is where the tasks' words go")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_task_is_for_the_checkout_that_it_is_called_in() {
        let folder = tempfile::tempdir().unwrap();
        for checkout in ["one", "other"] {
            let root = folder.path().join(checkout);
            fs::create_dir_all(root.join("xtask/src")).unwrap();
            fs::create_dir_all(root.join("crates/model/src")).unwrap();
            fs::write(root.join("xtask/Cargo.toml"), "").unwrap();
            for inside in [".", "xtask/src", "crates/model/src"] {
                let here = root.join(inside);
                let found = root_of(&here).unwrap().canonicalize().unwrap();
                assert_eq!(found, root.canonicalize().unwrap(), "from {inside}");
            }
        }
        let error = root_of(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is in no checkout of undercloud"), "{error}");
    }
}
