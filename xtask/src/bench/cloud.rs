//! `cargo xtask bench cloud`: from an empty host to a verified cloud, step by step, beside the budget
//! that each step has on two cores without hardware virtualisation.
//!
//! The program is driven as a person would drive it, in a state and a cache of its own, both of which
//! are taken away again. Packages must be there (`undercloud preflight --install`).

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::process::{MIB, status_bytes};

/// One line of the table.
struct Row {
    what: &'static str,
    unit: &'static str,
    found: f64,
    budget: f64,
}

/// What an empty host goes through, with the seconds that it may take.
const STEPS: &[(&str, &[&str], f64)] = &[
    ("images, cold", &["image", "build"], 240.0),
    ("containers, cold", &["container", "build"], 600.0),
];
const CLOUD: &[&[&str]] = &[
    &["lab", "create"],
    &["node", "import", "INSTACKENV"],
    &["cloud", "install"],
    &["cloud", "verify"],
];
const CLOUD_SECONDS_MAX: f64 = 25.0 * 60.0;

/// Runs it.
///
/// # Errors
/// The first step that failed; what was made is taken away again.
pub(crate) fn cloud() -> Result<()> {
    let host = Host::new()?;
    let measured = host.measure();
    let removed = host.run(&["down"]).map(drop);
    let rows = measured?;
    removed?;
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    #[expect(clippy::print_stdout, reason = "the table is what the task is for")]
    for Row { what, unit, found, budget } in &rows {
        println!("{what:width$}  {found:8.1} of {budget:7.1} {unit:3}  ×{:.2}", found / budget);
    }
    Ok(())
}

/// The program, with a state and a cache of its own.
struct Host {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Result<Self> {
        let program = std::env::var_os("UNDERCLOUD").map(PathBuf::from);
        let program = program
            .context("UNDERCLOUD names no program: `. scripts/toolchain.sh; build_undercloud`")?;
        let folder = tempfile::Builder::new().prefix("undercloud-bench.").tempdir_in("/var/tmp");
        Ok(Self { program, folder: folder.context("cannot make a directory in /var/tmp")? })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let instackenv = self.state().join("instackenv.json");
        let mut command = Command::new(&self.program);
        command
            .arg("--state")
            .arg(self.state())
            .arg("--cache")
            .arg(self.folder.path().join("cache"));
        command.env("XDG_CONFIG_HOME", self.folder.path());
        for argument in arguments {
            match *argument {
                "INSTACKENV" => command.arg(&instackenv),
                other => command.arg(other),
            };
        }
        let output = command.stderr(std::process::Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        ensure!(output.status.success(), "`undercloud {}` failed", arguments.join(" "));
        Ok(output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_slice(&output).context("the program printed no JSON")
    }

    fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        let began = Instant::now();
        self.run(arguments)?;
        Ok(began.elapsed())
    }

    fn measure(&self) -> Result<Vec<Row>> {
        self.run(&["serve", "--detach"])?;
        let mut rows = Vec::new();
        for &(what, step, budget) in STEPS {
            rows.push(Row { what, unit: "s", found: self.timed(step)?.as_secs_f64(), budget });
        }
        let mut took = Duration::ZERO;
        for step in CLOUD {
            took += self.timed(step)?;
        }
        let found = took.as_secs_f64();
        let what = "lab create to a verified server";
        rows.push(Row { what, unit: "s", found, budget: CLOUD_SECONDS_MAX });
        let found = self.timed(&["up"])?.as_secs_f64();
        rows.push(Row { what: "up on a finished cloud", unit: "s", found, budget: 15.0 });
        rows.extend(self.sizes()?);
        Ok(rows)
    }

    fn sizes(&self) -> Result<Vec<Row>> {
        let daemon = self.json(&["status"])?["pid"].as_u64().context("the daemon has no pid")?;
        // The most that it ever had.
        let daemon = status_bytes(daemon, "VmHWM:")?;
        let mut machines = 0.0;
        for machine in self.json(&["lab", "list"])?.as_array().context("no list of machines")? {
            let pid = machine["pid"].as_u64().context("a machine does not run")?;
            machines += status_bytes(pid, "VmHWM:")?;
        }
        let ramdisk = self.json(&["image", "show", "bm-deploy-ramdisk"])?;
        let ramdisk = ramdisk["size"].as_f64().context("the ramdisk has no size")?;
        let row = |what, bytes: f64, budget| Row { what, unit: "MiB", found: bytes / MIB, budget };
        Ok(vec![
            row("memory of all machines and the daemon", machines + daemon, 10.0 * 1024.0),
            row("memory of the daemon", daemon, 64.0),
            row("deploy ramdisk", ramdisk, 60.0),
        ])
    }
}
