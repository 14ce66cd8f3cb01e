//! `cargo xtask suite NAME…`: long scenarios on real parts, by name; each is a program in
//! `tests/suites`. One that fails leaves its logs in one archive and the command that repeats it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, say};

const SUITES: &str = "tests/suites";
/// What of a suite's directory tells what happened; disks and images do not.
const LOGS: &str =
    r"find . -type f ( -name *.log -o -name *.log.1 -o -name up -o -name refused ) -size -64M";

/// Runs suites one after the other; without a name, lists them.
pub(crate) fn run(names: &[String]) -> Result<()> {
    if names.is_empty() {
        for (name, what) in all()? {
            say(&format!("{name:16}{what}"));
        }
        return Ok(());
    }
    let known = all()?;
    for name in names {
        if !known.iter().any(|(known, _)| known == name) {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            bail!("there is no suite `{name}`: {}", names.join(", "));
        }
    }
    for name in names {
        one(name)?;
    }
    Ok(())
}

/// The names, and the first line of what each says that it is.
fn all() -> Result<Vec<(String, String)>> {
    let mut suites = Vec::new();
    for entry in fs::read_dir(SUITES).with_context(|| format!("cannot read {SUITES}"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains('.') {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let what = text.lines().nth(1).unwrap_or_default().trim_start_matches("# ");
        suites.push((name, what.to_owned()));
    }
    suites.sort();
    Ok(suites)
}

fn one(name: &str) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix(&format!("uc-{name}."))
        .tempdir_in("/var/tmp")
        .context("cannot make a directory for the suite")?;
    let begun = Instant::now();
    say(&format!("== suite {name}"));
    // Builds the program unless ./test did.
    let script = ". scripts/toolchain.sh; ensure_toolchain; \
                  [ -n \"${UNDERCLOUD:-}\" ] || build_undercloud; \
                  export UNDERCLOUD_CACHE=${UNDERCLOUD_CACHE:-/var/cache/undercloud}; exec \"$1\"";
    let mut command = Command::new("bash");
    cargo::as_if_typed(&mut command);
    let status = command
        .args(["-euo", "pipefail", "-c", script, "suite", &format!("{SUITES}/{name}")])
        .env("UNDERCLOUD_SUITE_WORK", work.path())
        .status()
        .context("cannot start bash")?;
    let took = begun.elapsed().as_secs();
    if status.success() {
        say(&format!("ok    suite {name} ({took} s)"));
        return Ok(());
    }
    let archive = keep_logs(name, work.path())?;
    bail!(
        "suite {name} failed after {took} s\n  its logs: {}\n  again:    cargo xtask suite {name}",
        archive.display()
    )
}

/// Packs the logs below `work` into one archive that stays. Returns where it is.
pub(crate) fn keep_logs(name: &str, work: &Path) -> Result<PathBuf> {
    let directory = cargo::target_directory()?.join("suites");
    fs::create_dir_all(&directory).context("cannot make a directory for logs")?;
    let archive = directory.join(format!("{name}.tar.gz"));
    let found = Command::new("find").args(LOGS.split(' ').skip(1)).current_dir(work).output()?;
    let files = String::from_utf8_lossy(&found.stdout).into_owned();
    let files: Vec<&str> = files.lines().collect();
    let status = Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(work)
        .arg("--ignore-failed-read")
        .args(if files.is_empty() { &["."][..] } else { &files })
        .status()
        .context("cannot start tar")?;
    if !status.success() {
        bail!("the suite's logs could not be kept: tar {status}");
    }
    Ok(archive)
}
