//! Dependency arrows, licences and banned crates, from `cargo metadata`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cargo;

/// What each crate of ours may use of ours (ARCHITECTURE.md, "Crates").
const ARROWS: &[(&str, &[&str])] = &[
    ("undercloud-model", &[]),
    ("undercloud-names", &[]),
    ("undercloud-durable", &[]),
    ("undercloud-serve", &[]),
    ("undercloud-bmc", &["names", "durable", "serve"]),
    ("undercloud-store", &["model"]),
    ("undercloud-image", &["model", "names"]),
    ("undercloud-netboot", &["model", "serve"]),
    ("undercloud-seccomp", &[]),
    ("undercloud-machine", &["model", "durable", "image", "netboot", "seccomp"]),
    ("undercloud-lab", &["model", "durable", "machine"]),
    ("undercloud-libvirt", &["model", "bmc", "serve"]),
    ("undercloud-engine", &["model", "store", "bmc", "image", "netboot", "lab"]),
    ("undercloud-cloud", &["model", "store"]),
    ("undercloud-api", &["model", "durable", "store", "image", "serve"]),
    ("undercloud-agent", &["model", "durable", "image"]),
];

/// Outside crates that only these of ours may use.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlx", &["undercloud-store"]),
    ("axum", &["undercloud-api", "undercloud-netboot", "undercloud-bmc"]),
    ("clap", &["undercloud", "undercloud-agent"]),
];

/// Crates that must not be in the tree, and why.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "a second TLS provider beside ring makes rustls panic at run time"),
    ("aws-lc-sys", "a second TLS provider beside ring makes rustls panic at run time"),
    ("openssl-sys", "TLS is rustls"),
    ("native-tls", "TLS is rustls"),
    ("chrono", "time is jiff and milliseconds"),
    ("serde_yaml", "unmaintained"),
];

/// Licences that go with Apache-2.0.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
];

pub(super) fn faults() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let name = text(package, "name");
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            faults.push(format!("crate {name} is banned: {why}"));
        }
        if !licence_allowed(text(package, "license")) {
            faults.push(format!("crate {name} has licence `{}`", text(package, "license")));
        }
        if package["source"].is_null() {
            faults.extend(arrow_faults(package));
        }
    }
    Ok(faults)
}

fn metadata() -> Result<Value> {
    let output = cargo::command()
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", cargo::TARGET])
        .output()
        .context("cannot start cargo metadata")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

fn arrow_faults(package: &Value) -> Vec<String> {
    let name = text(package, "name");
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let uses = text(dependency, "name");
        let for_tests = dependency["kind"] == "dev";
        if let (Some(ours), Some(allowed), false) =
            (uses.strip_prefix("undercloud-"), arrows.get(name), for_tests)
            && !allowed.contains(&ours)
        {
            faults.push(format!("{name} must not use {uses}: arrows point down only"));
        }
        if let Some((_, owners)) = OWNERS.iter().find(|(crate_name, _)| *crate_name == uses)
            && !owners.contains(&name)
            && !for_tests
        {
            faults.push(format!("{name} must not use {uses}: only {} may", owners.join(", ")));
        }
    }
    faults
}

/// Whether an SPDX expression can be met by the licences in the list.
fn licence_allowed(expression: &str) -> bool {
    let any_of = |part: &str| part.split(" OR ").any(|l| LICENCES.contains(&l.trim()));
    let spaced = expression.replace('/', " OR ");
    spaced.split(" AND ").all(|part| any_of(part.trim_matches(['(', ')', ' '])))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::licence_allowed;

    #[test]
    fn spdx_expressions_are_understood() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert!(licence_allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0"] {
            assert!(!licence_allowed(bad), "{bad}");
        }
    }
}
