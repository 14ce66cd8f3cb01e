//! `cargo xtask dist`: the release. One static program with the agent inside, and a package of Debian
//! with it, the service, completions and man pages. Needs what compiling needs, and dpkg-deb.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cargo, say};

/// What the package has of this checkout: from, to, mode.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/undercloud.service", "usr/lib/systemd/system/undercloud.service", 0o644),
    ("packaging/serve.env", "etc/undercloud/serve.env", 0o644),
    ("cloud.toml", "etc/undercloud/cloud.toml", 0o644),
    ("lab.toml", "etc/undercloud/lab.toml", 0o644),
    ("docs/guide.md", "usr/share/doc/undercloud/guide.md", 0o644),
    ("packaging/copyright", "usr/share/doc/undercloud/copyright", 0o644),
    ("packaging/postinst", "DEBIAN/postinst", 0o755),
    ("packaging/prerm", "DEBIAN/prerm", 0o755),
];
/// The completions of each shell, where its users get them unasked.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/undercloud"),
    ("zsh", "usr/share/zsh/vendor-completions/_undercloud"),
    ("fish", "usr/share/fish/vendor_completions.d/undercloud.fish"),
];
/// The last bytes of a program with an agent inside.
const AGENT_MARK: &[u8] = b"undercloud-agent";
const MAN_PAGES: &str = "usr/share/man/man1";

/// Makes both, in the target directory's `dist`; with `dev` from the development build, in
/// `dist-dev`.
pub(crate) fn run(dev: bool) -> Result<()> {
    let folder = cargo::target_directory()?.join(if dev { "dist-dev" } else { "dist" });
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let program = program(&folder, dev)?;
    let package = package(&folder, &program)?;
    say(&format!("{}\n{}", program.display(), package.display()));
    Ok(())
}

/// Builds both programs, and puts the agent behind the other's bytes, where it is looked for
/// (`crates/undercloud/src/agent_program.rs`).
fn program(folder: &Path, dev: bool) -> Result<PathBuf> {
    let built = cargo::programs(Path::new(if dev { "debug" } else { "release" }))?;
    let mut build = vec!["build", "--locked", "-p", "undercloud", "-p", "undercloud-agent"];
    if !dev {
        build.push("--release");
    }
    cargo::cargo(&build)?;
    let program = folder.join("undercloud");
    let mut bytes = stripped(&built.join("undercloud"), &program)?;
    let agent = stripped(&built.join("undercloud-agent"), &folder.join("agent"))?;
    bytes.extend_from_slice(&agent);
    bytes.extend_from_slice(&u64::try_from(agent.len())?.to_le_bytes());
    bytes.extend_from_slice(AGENT_MARK);
    write(&program, bytes, 0o755)?;
    Ok(program)
}

/// The bytes of a program, without what only a debugger reads; `to` is where they go on the way.
fn stripped(from: &Path, to: &Path) -> Result<Vec<u8>> {
    run_it(Command::new("strip").arg("--strip-all").arg("-o").arg(to).arg(from))?;
    ensure_static(to)?;
    let bytes = fs::read(to).with_context(|| format!("cannot read {}", to.display()))?;
    fs::remove_file(to).with_context(|| format!("cannot remove {}", to.display()))?;
    Ok(bytes)
}

/// A program that names an interpreter needs that host's libraries.
fn ensure_static(program: &Path) -> Result<()> {
    let mut command = Command::new("readelf");
    command.args(["--program-headers", "--wide"]).arg(program);
    let text = output_of(command)?;
    ensure!(!text.contains("INTERP"), "{} is not static", program.display());
    Ok(())
}

/// Lays the package out and closes it.
fn package(folder: &Path, program: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    install(program, &root.join("usr/bin/undercloud"), 0o755)?;
    for (from, to, mode) in FILES {
        install(Path::new(from), &root.join(to), *mode)?;
    }
    for (shell, to) in COMPLETIONS {
        let mut command = Command::new(program);
        command.args(["completion", shell]);
        write(&root.join(to), &output_of(command)?, 0o644)?;
    }
    let pages = root.join(MAN_PAGES);
    run_it(Command::new(program).arg("man").arg(&pages).stdout(std::process::Stdio::null()))?;
    for page in fs::read_dir(&pages).context("cannot list the man pages")? {
        run_it(Command::new("gzip").args(["-9", "--no-name"]).arg(page?.path()))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    write(&root.join("DEBIAN/control"), control(version, size(&root)?), 0o644)?;
    write(&root.join("DEBIAN/conffiles"), conffiles(), 0o644)?;
    let package = folder.join(format!("undercloud_{version}_amd64.deb"));
    // Of a checkout's own modes nothing is kept.
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "-z1", "--build"]).arg(&root).arg(&package);
    output_of(command)?;
    Ok(package)
}

/// What dpkg knows of it. Static: it depends on nothing; what a host needs beside it,
/// `undercloud preflight --install` installs.
fn control(version: &str, kib: u64) -> String {
    format!(
        "Package: undercloud\n\
         Version: {version}\n\
         Architecture: amd64\n\
         Maintainer: undercloud <undercloud@example.invalid>\n\
         Installed-Size: {kib}\n\
         Section: admin\n\
         Priority: optional\n\
         Recommends: ca-certificates\n\
         Description: install and run a private OpenStack cloud\n \
         Manages machines over their BMCs, installs them, and runs OpenStack on them in\n \
         containers. The agent that runs on the machines is inside the program.\n"
    )
}

/// What an administrator edits is kept when the package is upgraded.
fn conffiles() -> String {
    let of_etc = FILES.iter().map(|(_, to, _)| to).filter(|to| to.starts_with("etc/"));
    of_etc.map(|to| format!("/{to}\n")).collect()
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, bytes, mode)
}

fn write(to: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let wrong = || format!("cannot write {}", to.display());
    let folder = to.parent().with_context(wrong)?;
    fs::create_dir_all(folder).with_context(wrong)?;
    fs::write(to, bytes).with_context(wrong)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(wrong)
}

/// Of all files below a directory, in KiB.
fn size(folder: &Path) -> Result<u64> {
    let mut kib = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        kib += if metadata.is_dir() { size(&entry.path())? } else { metadata.len().div_ceil(1024) };
    }
    Ok(kib)
}

fn run_it(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}

fn output_of(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", error.trim());
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_edits_is_kept_by_an_upgrade() {
        let expected =
            "/etc/undercloud/serve.env\n/etc/undercloud/cloud.toml\n/etc/undercloud/lab.toml\n";
        assert_eq!(conffiles(), expected);
        let control = control("1.2.3", 7);
        assert!(
            control.contains("\nVersion: 1.2.3\n") && control.contains("\nInstalled-Size: 7\n")
        );
        // A line that goes on begins with a blank (deb-control(5)).
        let after = control.split_once("Description: ").unwrap().1;
        assert!(after.trim_end().lines().skip(1).all(|line| line.starts_with(' ')), "{control}");
    }
}
