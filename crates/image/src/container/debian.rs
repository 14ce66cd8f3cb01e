//! Debian itself: the root file system of the lowest image, and what every `RUN` is given to add
//! packages with, as mounts: APT's sources, settings, credentials and package lists.
//!
//! The lists are those that the root file system was installed from, so that every image is made of
//! one state of the archive. Sources, settings and credentials are the host's: they are in no image.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::recipe::Recipe;
use crate::build::{
    BuildError,
    archive::Archive,
    child::{Log, Run},
    error::at,
    sources::SUITE,
};

/// A busy machine with a slow mirror took three minutes.
const DEADLINE: Duration = Duration::from_secs(1800);
/// The root file system in the context of the lowest image.
pub(super) const TAR: &str = "base.tar";
/// The host's credentials, in the order in which APT reads them (apt_auth.conf(5)).
const AUTH: [&str; 2] = ["/etc/apt/auth.conf", "/etc/apt/auth.conf.d"];
/// Emptied, so that nothing of the host that builds is in an image; containers get their own.
const EMPTIED: &str = "etc/hostname etc/resolv.conf";

/// The mounts of every `RUN`.
#[derive(Debug)]
pub(super) struct Apt {
    dir: Utf8PathBuf,
    lists: Utf8PathBuf,
}

impl Apt {
    /// Lays them out in `dir`, readable by root alone; `lists` are those of the root file system.
    pub(super) fn lay_out(
        dir: &Utf8Path,
        archive: &Archive,
        lists: Utf8PathBuf,
    ) -> Result<Self, BuildError> {
        let apt = Self { dir: dir.to_owned(), lists };
        for part in [apt.sources(), apt.settings(), apt.auth()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&part);
            made.map_err(at("make the directory", &part))?;
        }
        copy(&archive.sources, &apt.sources().join("debian.sources"))?;
        copy(&archive.settings, &apt.settings().join("99undercloud"))?;
        for (number, path) in auth_files()?.iter().enumerate() {
            copy(path, &apt.auth().join(format!("{number:02}.conf")))?;
        }
        Ok(apt)
    }

    fn sources(&self) -> Utf8PathBuf {
        self.dir.join("sources")
    }

    fn settings(&self) -> Utf8PathBuf {
        self.dir.join("settings")
    }

    /// Copies of the host's credentials.
    pub(super) fn auth(&self) -> Utf8PathBuf {
        self.dir.join("auth")
    }

    /// From where, to where.
    pub(super) fn mounts(&self) -> [(Utf8PathBuf, &'static str); 4] {
        [
            (self.sources(), "/etc/apt/sources.list.d"),
            (self.settings(), "/etc/apt/apt.conf.d"),
            (self.auth(), "/etc/apt/auth.conf.d"),
            (self.lists.clone(), "/var/lib/apt/lists"),
        ]
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    fs::copy(from, to).map_err(at("copy", from))?;
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(to, mode).map_err(at("set the mode of", to))
}

fn auth_files() -> Result<Vec<Utf8PathBuf>, BuildError> {
    let mut files = Vec::new();
    for path in AUTH.map(Utf8PathBuf::from) {
        match path.read_dir_utf8() {
            Ok(entries) => files.extend(entries.flatten().map(|entry| entry.into_path())),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => files.push(path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(at("list", &path)(e)),
        }
    }
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// Makes `new/base.tar` and `new/lists`.
pub(super) fn install(
    new: &Utf8Path,
    base: &Recipe<'_>,
    archive: &Archive,
    tmp: &Utf8Path,
    log: &Log<'_>,
) -> Result<(), BuildError> {
    let (Some(packages), Some(options)) = (base.file("packages"), base.file("dpkg.cfg")) else {
        return Err(BuildError::Content("containers/base lacks `packages` or `dpkg.cfg`"));
    };
    let options_file = tmp.join("base-dpkg.cfg");
    fs::write(&options_file, options).map_err(at("write", &options_file))?;
    let packages: Vec<&str> = packages.split_whitespace().collect();
    let root = "cd \"$1\"";
    Run::alone("mmdebstrap")
        .env("SOURCE_DATE_EPOCH", archive.date.to_string())
        .env("TMPDIR", tmp.as_str())
        .deadline(DEADLINE)
        .args(["--mode=root", "--architectures=amd64", "--variant=apt"])
        .arg(format!("--dpkgopt={options_file}"))
        // It stays in the images: a container's file system is made anew, never repaired.
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--aptopt={}", archive.settings))
        .arg(format!("--include={}", packages.join(",")))
        // Hooks run before mmdebstrap removes the lists. It would leave its settings, and the proxy
        // in them, in the system.
        .arg(format!("--customize-hook=copy-out /var/lib/apt/lists {}", shell_word(new.as_str())))
        .arg(format!("--customize-hook={root} && rm -f etc/apt/apt.conf.d/99mmdebstrap"))
        .arg(format!("--customize-hook={root} && truncate --no-create --size=0 {EMPTIED}"))
        .arg(format!("--customize-hook={root} && rm -rf etc/apt/sources.list*"))
        .arg(format!("--customize-hook={root} && mkdir etc/apt/sources.list.d"))
        .args([SUITE, new.join(TAR).as_str(), archive.sources.as_str()])
        .run(log)
}

/// `text` as one word of a shell.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest_of;

    #[test]
    fn mounts_are_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        for name in ["archive.sources", "apt.conf"] {
            fs::write(dir.join(name), name).unwrap();
        }
        let archive = Archive {
            sources: dir.join("archive.sources"),
            settings: dir.join("apt.conf"),
            state: digest_of(b"state"),
            date: 0,
        };
        let apt = Apt::lay_out(&dir.join("apt"), &archive, dir.join("lists")).unwrap();
        let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (path, to) in &apt.mounts()[..3] {
            assert_eq!(mode(path), 0o700, "{to}");
        }
        let settings = apt.settings().join("99undercloud");
        assert_eq!(mode(&settings), 0o600);
        assert_eq!(fs::read_to_string(settings).unwrap(), "apt.conf");
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(shell_word("/a b'c"), "'/a b'\\''c'");
    }
}
