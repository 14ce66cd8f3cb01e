//! Installing packages with the host's own APT: its sources, its proxy, its credentials.
//!
//! The daemons that come with a package are not started on this host, and no source is added to
//! it: where a package must be newer than the host's release has it, the release's backports are
//! read through a list of our own that ends with the command.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use undercloud_model::ErrorKind;

use crate::failure::Failure;

/// While this says "no", maintainer scripts start no daemon (Debian Policy, section 9.3.3).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Packages that Debian 12 has too old; its backports have them new enough.
const FROM_BACKPORTS: &[&str] = &["qemu-system-x86"];

pub(super) fn install(names: &[&str]) -> Result<()> {
    let _quiet = NoDaemons::start()?;
    let (newer, plain): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|n| FROM_BACKPORTS.contains(n) && release() == "bookworm");
    apt(&[], &["update"])?;
    if !newer.is_empty() {
        let backports = Backports::start()?;
        let options = backports.options();
        apt(&options, &["update"])?;
        let target = ["install", "-t", "bookworm-backports"];
        apt(&options, &[&target[..], &newer[..]].concat())?;
    }
    if plain.is_empty() { Ok(()) } else { apt(&[], &[&["install"], &plain[..]].concat()) }
}

/// Runs apt-get; its output is kept for the error only.
fn apt(options: &[String], args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .args(["-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"])
        .args(options)
        .args(args)
        .output()
        .context("cannot start apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|l| l.starts_with("E:")).unwrap_or("it said nothing");
    let message = format!("apt-get {} failed: {last}", args.join(" "));
    let hint = "check /etc/apt and the network with: apt-get update";
    Err(Failure::new(ErrorKind::Unavailable, message).hint(hint).into())
}

fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME="));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

/// Keeps maintainer scripts from starting daemons until it is dropped.
#[derive(Debug)]
struct NoDaemons {
    ours: bool,
}

impl NoDaemons {
    fn start() -> Result<Self> {
        // Somebody's own policy stays as it is.
        let file = fs::OpenOptions::new().write(true).create_new(true).open(POLICY);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Self { ours: false });
            }
            opened => opened.with_context(|| format!("cannot write {POLICY}"))?,
        };
        let guard = Self { ours: true };
        io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n").context(POLICY)?;
        file.set_permissions(fs::Permissions::from_mode(0o755)).context(POLICY)?;
        Ok(guard)
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.ours {
            let _gone = fs::remove_file(POLICY);
        }
    }
}

/// The host's Debian sources with the backports beside them, in a directory of our own.
#[derive(Debug)]
struct Backports {
    folder: PathBuf,
}

impl Backports {
    fn start() -> Result<Self> {
        let folder = PathBuf::from(format!("/run/undercloud-apt-{}", std::process::id()));
        fs::create_dir_all(folder.join("parts")).context("cannot make a list of sources")?;
        fs::create_dir_all(folder.join("lists/partial"))
            .context("cannot make a list of sources")?;
        let this = Self { folder };
        for (number, source) in host_sources()?.iter().enumerate() {
            let extended = with_backports(source);
            let file = this.folder.join(format!("parts/{number}.sources"));
            fs::write(&file, extended).with_context(|| file.display().to_string())?;
        }
        Ok(this)
    }

    fn options(&self) -> Vec<String> {
        let folder = self.folder.display();
        [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={folder}/parts"),
            format!("Dir::State::lists={folder}/lists"),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }
}

impl Drop for Backports {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// The host's own sources in deb822 form (sources.list(5)); one-line entries are rewritten to it.
fn host_sources() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    files.push(PathBuf::from("/etc/apt/sources.list"));
    files.sort();
    for file in files {
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.with_context(|| file.display().to_string())?,
        };
        match extension(&file) {
            "sources" => found.extend(text.split("\n\n").map(str::to_owned)),
            "list" => found.extend(text.lines().filter_map(one_line_to_deb822)),
            _ => {}
        }
    }
    found.retain(|stanza| stanza.lines().any(|l| l.starts_with("URIs:")));
    Ok(found)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default()
}

/// `deb [signed-by=K] URI SUITE COMPONENTS…` as a deb822 stanza.
fn one_line_to_deb822(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let components: Vec<&str> = words.collect();
    let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
    let signed_by = signed_by.map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
    Some(format!(
        "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}\n{signed_by}",
        components.join(" ")
    ))
}

/// The stanza with `bookworm-backports` beside its `bookworm`; others are left as they are.
fn with_backports(stanza: &str) -> String {
    let extend = |line: &str| {
        let suites = line.strip_prefix("Suites:").unwrap_or_default();
        let also = if suites.split_whitespace().any(|s| s == "bookworm") {
            " bookworm-backports"
        } else {
            ""
        };
        format!("{line}{also}\n")
    };
    stanza.lines().map(extend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_sources_become_stanzas() {
        let line = "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib";
        let stanza = one_line_to_deb822(line).unwrap();
        assert_eq!(
            stanza,
            "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\n\
             Components: main contrib\nSigned-By: /k.gpg\n"
        );
        assert_eq!(one_line_to_deb822("# deb http://mirror/debian bookworm main"), None);
        assert_eq!(one_line_to_deb822("deb-src http://mirror/debian bookworm main"), None);
        assert_eq!(one_line_to_deb822("deb ["), None);
    }

    #[test]
    fn backports_stand_beside_the_release_only() {
        let both = with_backports("URIs: u\nSuites: bookworm bookworm-updates\n");
        assert_eq!(both, "URIs: u\nSuites: bookworm bookworm-updates bookworm-backports\n");
        let security = "URIs: u\nSuites: bookworm-security\n";
        assert_eq!(with_backports(security), security);
    }
}
