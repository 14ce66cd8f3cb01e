//! Fuzz targets. All together make the same thousands of inputs each time, from those in
//! `fuzz/seeds`: whether a change is good does not depend on luck. One alone looks for new ones, for
//! as long as one likes, and begins with what earlier runs found. Ours forbid unsafe code, so no sanitizer is needed, and the stable
//! compiler does; libFuzzer itself wants one for C++.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cargo, say};

const TARGETS: &str = "fuzz/fuzz_targets";
const SEEDS: &str = "fuzz/seeds";
/// What libFuzzer is told by, as cargo-fuzz sets it.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// How many inputs each makes where all run: half a minute of two cores together.
const INPUTS: u32 = 15_000;
const LOG_LINES: usize = 30;

/// Compiles all of them; says so where that cannot be.
pub(crate) fn compile() -> Result<()> {
    if can_compile() { build(&folder()?).map(drop) } else { Ok(()) }
}

/// How far a target goes.
#[derive(Clone, Copy)]
enum Extent {
    /// The same inputs each time.
    Inputs(u32),
    /// New ones, for so many seconds.
    Seconds(u32),
}

/// `cargo xtask fuzz [NAME [SECONDS]]`: all of them for a moment, or one.
pub(crate) fn by_name(name: Option<&str>, seconds: Option<&str>) -> Result<()> {
    if !can_compile() {
        return Ok(());
    }
    let known = all()?;
    let Some(name) = name else { return run(&known, Extent::Inputs(INPUTS)) };
    ensure!(known.iter().any(|k| k == name), "there is no target `{name}`: {}", known.join(", "));
    let seconds = seconds.map_or(Ok(60), str::parse).context("for how many seconds?")?;
    run(&[name.to_owned()], Extent::Seconds(seconds))
}

fn can_compile() -> bool {
    let found = Command::new("c++").arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        say("fuzz: NOT RUN: libFuzzer wants a compiler for C++ (apt-get install g++)");
    }
    found
}

fn folder() -> Result<PathBuf> {
    Ok(cargo::target_directory()?.join("fuzz"))
}

fn all() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(TARGETS).with_context(|| format!("cannot list {TARGETS}"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn run(names: &[String], extent: Extent) -> Result<()> {
    let folder = folder()?;
    let programs = build(&folder)?;
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::new();
    for group in names.chunks(at_once) {
        let begun: Result<Vec<Run>> =
            group.iter().map(|name| Run::start(name, extent, &programs, &folder)).collect();
        for run in begun? {
            found.extend(run.end()?);
        }
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    say(&format!("fuzz: nothing found by {} targets", names.len()));
    Ok(())
}

/// Where the programs are. A directory of its own: all crates are compiled with other flags.
fn build(folder: &Path) -> Result<PathBuf> {
    let status = cargo::command()
        .args(["build", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bins"])
        .args(["--target", cargo::TARGET, "--target-dir"])
        .arg(folder)
        .env("RUSTFLAGS", COVERAGE)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the fuzz targets do not compile");
    Ok(folder.join(cargo::TARGET).join("debug"))
}

/// A target that runs.
struct Run {
    name: String,
    child: Child,
    log: PathBuf,
    artifacts: PathBuf,
}

impl Run {
    fn start(name: &str, extent: Extent, programs: &Path, folder: &Path) -> Result<Self> {
        let seeds = Path::new(SEEDS).join(name);
        ensure!(
            fs::read_dir(&seeds).is_ok_and(|mut entries| entries.next().is_some()),
            "{} has no input to begin with",
            seeds.display()
        );
        let artifacts = folder.join("artifacts");
        let (corpus, extent) = match extent {
            Extent::Inputs(inputs) => {
                let corpus = folder.join("corpus-of-all").join(name);
                if corpus.exists() {
                    fs::remove_dir_all(&corpus).context("cannot begin anew")?;
                }
                (corpus, ["-seed=1".to_owned(), format!("-runs={inputs}")])
            }
            Extent::Seconds(seconds) => {
                let corpus = folder.join("corpus").join(name);
                (corpus, ["-seed=0".to_owned(), format!("-max_total_time={seconds}")])
            }
        };
        for made in [&corpus, &artifacts] {
            fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(programs.join(name))
            .args(extent)
            .arg(format!("-artifact_prefix={}/{name}-", artifacts.display()))
            .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048", "-max_len=32768"])
            .args([&corpus, &seeds])
            .stdout(file.try_clone().context("cannot write the log twice")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log, artifacts })
    }

    /// What it found.
    fn end(mut self) -> Result<Option<String>> {
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.name))?;
        let text = String::from_utf8_lossy(&text);
        if !status.success() {
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            let (name, artifacts) = (&self.name, self.artifacts.display());
            return Ok(Some(format!(
                "{end}\nfuzz: {name}: {status}; its input: {artifacts}/{name}-*"
            )));
        }
        let runs = executed(&text);
        ensure!(runs > 0, "{} ended well and ran nothing: {}", self.name, self.log.display());
        say(&format!("fuzz: {:24}{runs} inputs", self.name));
        Ok(None)
    }
}

/// How many inputs libFuzzer says that it ran.
fn executed(text: &str) -> u64 {
    let said = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    said.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_nothing_is_told_from_what_found_nothing() {
        let text =
            "Done 1 runs in 3 second(s)\nstat::number_of_executed_units: 81234\nstat::x: 1\n";
        assert_eq!(executed(text), 81_234);
        assert_eq!(executed("stat::number_of_executed_units: 0"), 0);
        assert_eq!(executed("usage: …"), 0);
    }
}
