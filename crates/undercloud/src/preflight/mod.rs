//! What this host must have before anything of it is touched: `undercloud preflight`, and the
//! first step of `up`.
//!
//! Each check only looks. What a package would cure is collected and installed in one go, when the
//! caller asked for that; anything else is said with the one command that cures it.

mod addresses;
mod apt;
mod host;
mod pace;
mod packages;
mod ports;

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use undercloud_lab::{LabConfig, NetworkConfig};
use undercloud_model::ErrorKind;

use crate::{failure::Failure, out::Out, state::StateDir};

pub(crate) use packages::ensure as ensure_packages;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(crate) enum Finding {
    /// As it must be.
    Ok {
        /// What was seen.
        seen: String,
    },
    /// Works, but the operator should know.
    Note {
        /// What was seen.
        seen: String,
    },
    /// Not as it must be.
    Fail {
        /// What is wrong.
        wrong: String,
        /// The command that cures it.
        cure: String,
    },
}

impl Finding {
    fn ok(seen: impl Into<String>) -> Self {
        Self::Ok { seen: seen.into() }
    }

    fn note(seen: impl Into<String>) -> Self {
        Self::Note { seen: seen.into() }
    }

    fn fail(wrong: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Fail { wrong: wrong.into(), cure: cure.into() }
    }
}

/// One check and what it found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Checked {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// Room for images and the disks' first contents, beside what the cache takes.
const DISK_BYTES: u64 = 12 << 30;

/// What the machines to be made need of this host.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// Memory of all machines together, in bytes.
    memory_bytes: u64,
    /// The lab's networks.
    networks: Vec<NetworkConfig>,
}

impl Needs {
    /// What this lab needs.
    ///
    /// # Errors
    /// When its description is wrong.
    pub(crate) fn of(lab: &str) -> Result<Self> {
        let lab: LabConfig = lab.parse().map_err(|error| {
            Failure::new(ErrorKind::Invalid, format!("the lab's description: {error}"))
        })?;
        let memory_mib: u64 = lab.machines.iter().map(|m| u64::from(m.memory_mib)).sum();
        Ok(Self { memory_bytes: memory_mib << 20, networks: lab.networks })
    }
}

/// Runs every check. Nothing is changed.
pub(crate) fn run(
    state: &StateDir,
    cache: &Path,
    needs: &Needs,
    daemon_runs: bool,
) -> Vec<Checked> {
    let mut found = vec![
        Checked { check: "root", finding: host::root() },
        Checked { check: "system", finding: host::system() },
        Checked { check: "rust", finding: host::rust() },
        Checked { check: "clock", finding: host::clock() },
        Checked { check: "memory", finding: host::memory(needs.memory_bytes, daemon_runs) },
        Checked { check: "disk", finding: host::disk(state.root(), DISK_BYTES, daemon_runs) },
        Checked { check: "cache", finding: host::disk(cache, DISK_BYTES, daemon_runs) },
        Checked { check: "packages", finding: packages::check() },
        Checked { check: "ports", finding: ports::check(state, daemon_runs) },
    ];
    let ready = |name| found.iter().any(|c| c.check == name && !is_failure(&c.finding));
    if ready("root") && ready("packages") {
        let kernel = host::kernel(state.tag());
        found.push(Checked { check: "kernel", finding: kernel });
        let addresses = addresses::check(state, needs);
        found.push(Checked { check: "addresses", finding: addresses });
        let virtualisation = host::virtualisation();
        let emulates = !matches!(virtualisation, Finding::Ok { .. });
        found.push(Checked { check: "virtualisation", finding: virtualisation });
        found.push(Checked { check: "pace", finding: pace::check(emulates) });
    }
    found
}

/// The check that stops everything else.
pub(crate) fn not_root() -> Checked {
    Checked { check: "root", finding: host::root() }
}

fn is_failure(finding: &Finding) -> bool {
    matches!(finding, Finding::Fail { .. })
}

/// Prints what was found; a failure names every cure.
///
/// # Errors
/// When a check failed.
pub(crate) fn report(out: &Out, found: &[Checked]) -> Result<()> {
    out.rows(&["", "check", "found"], found, |checked| match &checked.finding {
        Finding::Ok { seen } => vec!["ok".into(), checked.check.into(), seen.clone()],
        Finding::Note { seen } => vec!["note".into(), checked.check.into(), seen.clone()],
        Finding::Fail { wrong, .. } => vec!["FAIL".into(), checked.check.into(), wrong.clone()],
    })?;
    verdict(found)
}

/// The first failure of `found`, with its cure.
///
/// # Errors
/// When a check failed.
pub(crate) fn verdict(found: &[Checked]) -> Result<()> {
    let failed: Vec<(&str, &str)> = found
        .iter()
        .filter_map(|c| match &c.finding {
            Finding::Fail { wrong, cure } => Some((wrong.as_str(), cure.as_str())),
            Finding::Ok { .. } | Finding::Note { .. } => None,
        })
        .collect();
    let Some((wrong, _)) = failed.first() else { return Ok(()) };
    let message = match failed.len() {
        1 => format!("this host is not ready: {wrong}"),
        more => format!("this host is not ready, {more} checks failed; the first: {wrong}"),
    };
    let cures: Vec<&str> = failed.iter().map(|(_, cure)| *cure).collect();
    Err(Failure::new(ErrorKind::Unavailable, message).hint(cures.join("\nhint: ")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_comes_with_its_cure() {
        let found = [
            Checked { check: "root", finding: Finding::fail("not root", "sudo ./up") },
            Checked { check: "disk", finding: Finding::fail("full", "df -h /") },
            Checked { check: "clock", finding: Finding::ok("2026") },
        ];
        let error = verdict(&found).unwrap_err();
        let text = crate::failure::describe(&error);
        assert!(text.contains("2 checks failed; the first: not root"), "{text}");
        assert!(text.contains("hint: sudo ./up\nhint: df -h /"), "{text}");
    }
}
