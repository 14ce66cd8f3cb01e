//! Development tasks. `cargo xtask ci` is what CI runs before the end-to-end run, and what a
//! developer runs before a commit.

mod bench;
mod suite;
mod tidy;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

const HELP: &str = "\
cargo xtask ci            fmt, clippy, tidy, tests, doctests: all that needs no machine
cargo xtask bench cloud   images to a verified cloud and what comes after, beside budgets: --rounds=3 --qemu --cold
cargo xtask bench bmc     virtual BMCs beside VirtualBMC and sushy-tools (ten minutes); --dev: the development build
cargo xtask suite NAME…   long scenarios on real parts, by name; without one, lists them
cargo xtask tidy          sizes, module docs, dependency arrows, licences, banned crates
";

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    let done = match task.as_deref() {
        Some("ci") => ci(),
        Some("tidy") => tidy::run(),
        Some("bench") => bench(),
        Some("suite") => suite::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        _ => Err(anyhow::anyhow!("which task?\n{HELP}")),
    };
    match done {
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

fn bench() -> Result<()> {
    match std::env::args().nth(2).as_deref() {
        Some("cloud") => bench::cloud(&std::env::args().skip(3).collect::<Vec<_>>()),
        Some("bmc") => bench::bmc(std::env::args().nth(3).as_deref() == Some("--dev")),
        _ => bail!("which bench?\n{HELP}"),
    }
}

fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    tidy::run()?;
    cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])?;
    cargo(&["test", "--workspace", "--doc", "--quiet"])
}

fn cargo(args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", args.join(" "));
    }
    Ok(())
}
