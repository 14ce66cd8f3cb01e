//! The program, driven in a state of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{super::process::MIB, Round, machines, step};

/// What an empty cache needs.
const COLD: [(&str, [&str; 2]); 2] =
    [("images, cold", ["image", "build"]), ("containers, cold", ["container", "build"])];
/// From a machine's power to its services' answers.
const ANSWERS_MAX: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);
/// What answers without a token, on the address of cloud.toml.
const APIS: [&str; 5] = [
    "https://10.0.0.10:5000/v3",
    "https://10.0.0.10:8774/",
    "https://10.0.0.10:8778/",
    "https://10.0.0.10:9292/",
    "https://10.0.0.10:9696/",
];

/// A cache that was built for this.
pub(super) struct Cold {
    folder: tempfile::TempDir,
    took: Vec<(&'static str, Duration)>,
}

impl Cold {
    pub(super) fn cache(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn took(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.took.iter().copied()
    }
}

/// Builds everything from packages.
pub(super) fn build_cold() -> Result<Cold> {
    let folder = tempfile::Builder::new().prefix("undercloud-bench.").tempdir_in("/var/tmp")?;
    let host = Host::new(Some(folder.path()))?;
    host.run(&["serve", "--detach"])?;
    let built = COLD.iter().map(|(what, step)| Ok((*what, host.timed(step)?)));
    let took = built.collect::<Result<Vec<_>>>();
    host.run(&["down"])?;
    Ok(Cold { took: took?, folder })
}

/// The program, with a state of its own.
pub(super) struct Host {
    program: PathBuf,
    folder: tempfile::TempDir,
    cache: Option<PathBuf>,
}

impl Host {
    pub(super) fn new(cache: Option<&Path>) -> Result<Self> {
        let program = std::env::var_os("UNDERCLOUD").map(PathBuf::from);
        let program = program
            .context("UNDERCLOUD names no program: `. scripts/toolchain.sh; build_undercloud`")?;
        let folder = tempfile::Builder::new().prefix("undercloud-bench.").tempdir_in("/var/tmp");
        let folder = folder.context("cannot make a directory in /var/tmp")?;
        Ok(Self { program, folder, cache: cache.map(Into::into) })
    }

    /// Where its state is.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command.arg("--state").arg(self.path("state")).args(arguments);
        if let Some(cache) = &self.cache {
            command.arg("--cache").arg(cache);
        }
        command.env("XDG_CONFIG_HOME", self.folder.path()).stderr(Stdio::piped());
        let output = command.output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        ensure!(
            output.status.success(),
            "`undercloud {}` failed: {}",
            arguments.join(" "),
            last.into_iter().rev().collect::<Vec<_>>().join("; ")
        );
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

    /// One round; what it finds is given to `found`.
    pub(super) fn round(
        &self,
        round: &Round,
        mut found: impl FnMut(&'static str, f64),
    ) -> Result<()> {
        let (lab, cloud) = (self.path("lab.toml"), self.path("cloud.toml"));
        machines::write(round.computes, &lab, &cloud)?;
        let [lab, cloud] = [&lab, &cloud].map(|path| path.to_string_lossy().into_owned());
        let up = ["up", "--machines", round.kind, "--lab", &lab, "--cloud", &cloud];
        let table = self.json(&up)?;
        let mut all = Duration::ZERO;
        for name in ["lab", "enrolment", "access", "machines", "cloud", "verification"] {
            all += step(&table, name)?;
        }
        found("lab create to verified", all.as_secs_f64());
        found("  machines", step(&table, "machines")?.as_secs_f64());
        found("  cloud", step(&table, "cloud")?.as_secs_f64());
        found("  verification", step(&table, "verification")?.as_secs_f64());
        let listed = self.json(&["lab", "list"])?;
        found("machines' memory", machines::memory(&listed)? / MIB);
        let daemon = self.json(&["status"])?["rss_bytes"].as_f64();
        found("daemon's memory", daemon.context("the daemon has no size")? / MIB);
        found("up again", self.timed(&up)?.as_secs_f64());
        if !round.lives_on {
            return Ok(());
        }
        found("snapshot", self.timed(&["lab", "snapshot", "ready"])?.as_secs_f64());
        let restored = self.timed(&["lab", "restore", "ready"])?;
        found("restore", restored.as_secs_f64());
        let answered = restored + await_answers()?;
        found("restore to answering APIs", answered.as_secs_f64());
        let dead = machines::kill(&self.json(&["lab", "list"])?)?;
        found("machines killed to nothing left", dead.as_secs_f64());
        Ok(())
    }
}

/// Waits until every API has answered once.
fn await_answers() -> Result<Duration> {
    let begun = Instant::now();
    let mut silent = APIS.to_vec();
    while begun.elapsed() < ANSWERS_MAX {
        silent.retain(|api| !answers(api).unwrap_or(false));
        if silent.is_empty() {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(POLL);
    }
    bail!("{} did not answer within {} s", silent.join(", "), ANSWERS_MAX.as_secs())
}

fn answers(api: &str) -> Result<bool> {
    let arguments = ["-sk", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", api];
    let output = Command::new("curl").args(arguments).output().context("cannot start curl")?;
    // 300 is a list of versions.
    Ok(matches!(&output.stdout[..], b"200" | b"300"))
}
