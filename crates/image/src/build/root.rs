//! Root directories from packages: the builder's, and the system under overcloud-full.

use std::{
    fs::{self, File},
    io::BufReader,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    BuildError,
    archive::Archive,
    at,
    child::{Log, Run},
    recipe::{Builder, Overcloud},
    sources::SUITE,
};
use crate::tar::Reader;

/// A busy machine with a slow mirror took three minutes.
const DEADLINE: Duration = Duration::from_secs(1800);

/// The system under overcloud-full, as it lies in the cache.
#[derive(Debug)]
pub(super) struct System {
    pub(super) tar: Utf8PathBuf,
    pub(super) kernel: Utf8PathBuf,
    /// `uname -r`.
    pub(super) release: String,
}

impl System {
    /// Opens the cache's entry.
    pub(super) fn open(entry: &Utf8Path) -> Result<Self, BuildError> {
        let path = entry.join("release");
        let release = fs::read_to_string(&path).map_err(at("read", &path))?;
        Ok(Self { tar: entry.join("root.tar"), kernel: entry.join("vmlinuz"), release })
    }

    /// Opens the archive of its files.
    pub(super) fn read(&self) -> Result<Reader<BufReader<File>>, BuildError> {
        let file = File::open(&self.tar).map_err(at("open", &self.tar))?;
        Ok(Reader::new(BufReader::with_capacity(1 << 20, file)))
    }
}

fn mmdebstrap(archive: &Archive, tmp: &Utf8Path, variant: &str, packages: &[String]) -> Run {
    Run::alone("mmdebstrap")
        .env("SOURCE_DATE_EPOCH", archive.date.to_string())
        .env("TMPDIR", tmp.as_str())
        .deadline(DEADLINE)
        .args(["--mode=root", "--architectures=amd64"])
        .arg(format!("--variant={variant}"))
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--aptopt={}", archive.settings))
        .arg(format!("--include={}", packages.join(",")))
}

/// Makes the builder's root directory, `new/root`.
pub(super) fn builder(
    new: &Utf8Path,
    recipe: &Builder,
    archive: &Archive,
    tmp: &Utf8Path,
    log: &Log<'_>,
) -> Result<(), BuildError> {
    let exclude = ["doc", "info", "locale", "man"];
    mmdebstrap(archive, tmp, "essential", &recipe.packages)
        .args(exclude.map(|d| format!("--dpkgopt=path-exclude=/usr/share/{d}/*")))
        .args([SUITE, new.join("root").as_str(), archive.sources.as_str()])
        .run(log)
}

/// Makes the system, `new/root.tar`, and takes the kernel out of it.
pub(super) fn system(
    new: &Utf8Path,
    recipe: &Overcloud,
    archive: &Archive,
    tmp: &Utf8Path,
    log: &Log<'_>,
) -> Result<(), BuildError> {
    let tar = new.join("root.tar");
    mmdebstrap(archive, tmp, "essential", &recipe.packages)
        .args(recipe.exclude.iter().map(|p| format!("--dpkgopt=path-exclude={p}")))
        // The initrd is ours: a general one takes ten times as long under emulation.
        .env("INITRD", "No")
        .args([SUITE, tar.as_str(), archive.sources.as_str()])
        .run(log)?;
    export_kernel(new)
}

fn export_kernel(new: &Utf8Path) -> Result<(), BuildError> {
    let path = new.join("release");
    fs::write(&path, "").map_err(at("write", &path))?;
    let system = System::open(new)?;
    let mut reader = system.read()?;
    let mut release = None;
    let failed = |e| at("read", &system.tar)(e);
    while let Some(member) = reader.next_member().map_err(failed)? {
        let Some(name) = member.path.strip_prefix("boot/vmlinuz-") else { continue };
        if release.replace(name.to_owned()).is_some() {
            return Err(BuildError::Content("the system holds more than one kernel"));
        }
        let content = reader.content(&member).map_err(failed)?;
        fs::write(&system.kernel, content).map_err(at("write", &system.kernel))?;
    }
    let release = release.ok_or(BuildError::Content("the system holds no kernel"))?;
    fs::write(&path, release).map_err(at("write", &path))
}
