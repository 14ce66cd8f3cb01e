//! The deploy ramdisk and the installed system's own initrd: kernel modules, busybox, `/init`.
//!
//! Segments: modules as they are (packed each by itself, so that a machine unpacks only what it
//! loads), the rest; and in the deploy ramdisk, in front of them, our agent, which alone changes from
//! day to day.

use std::fs;

use camino::Utf8Path;

use super::{
    BuildError, at, modules,
    recipe::{Deploy, Overcloud},
    root::System,
};
use crate::cpio::{Archive, CpioError};

/// Packed once and read often; above this the size hardly falls.
const LEVEL: i32 = 9;

/// What all of them hold besides.
const DIRS: [&str; 11] =
    ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "sysroot"];

impl From<CpioError> for BuildError {
    fn from(source: CpioError) -> Self {
        Self::Cpio(source)
    }
}

/// Makes `new/segments`, the deploy ramdisk without the agent.
pub(super) fn deploy(
    new: &Utf8Path,
    recipe: &Deploy,
    system: &System,
    builder: &Utf8Path,
) -> Result<(), BuildError> {
    let (modules, rest) = base(&recipe.modules, &recipe.busybox, system, builder)?;
    write(&new.join("segments"), &joined(modules, rest)?)
}

/// Makes `new/initrd`, which finds the installed system's root file system.
pub(super) fn initrd(
    new: &Utf8Path,
    recipe: &Overcloud,
    system: &System,
    builder: &Utf8Path,
) -> Result<(), BuildError> {
    let list = &recipe.initrd;
    let (modules, mut rest) = base(&list.modules, &list.busybox, system, builder)?;
    rest.file("init", 0o755, recipe.initrd_program().as_bytes())?;
    write(&new.join("initrd"), &joined(modules, rest)?)
}

/// The whole deploy ramdisk: the agent, then the cached segments. The kernel closes what it unpacks
/// in the background; `/init` as the last file was now and then still open for writing when a slow
/// machine started it, and refused as busy (ETXTBSY).
pub(super) fn with_agent(entry: &Utf8Path, agent: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut ramdisk = Vec::new();
    let mut first = Archive::new();
    first.file("init", 0o755, agent)?;
    append(&mut ramdisk, first)?;
    let path = entry.join("segments");
    ramdisk.extend(fs::read(&path).map_err(at("read", &path))?);
    Ok(ramdisk)
}

pub(super) fn base(
    list: &[String],
    applets: &[String],
    system: &System,
    builder: &Utf8Path,
) -> Result<(Archive, Archive), BuildError> {
    let (mut modules, mut rest) = (Archive::new(), Archive::new());
    for dir in DIRS {
        rest.dir(dir, if dir == "tmp" { 0o1777 } else { 0o755 })?;
    }
    rest.char_device("dev/console", 0o600, 5, 1)?;
    rest.char_device("dev/null", 0o666, 1, 3)?;
    let path = builder.join("root/usr/bin/busybox");
    let busybox = fs::read(&path).map_err(at("read", &path))?;
    rest.file("bin/busybox", 0o755, &busybox)?;
    for name in applets {
        rest.symlink(&format!("bin/{name}"), "busybox")?;
    }
    modules::add(&mut modules, &mut rest, list, system)?;
    Ok((modules, rest))
}

pub(super) fn joined(modules: Archive, rest: Archive) -> Result<Vec<u8>, BuildError> {
    let mut segments = modules.finish();
    append(&mut segments, rest)?;
    Ok(segments)
}

/// The kernel passes over zeros between segments; it wants each at a multiple of four.
fn append(segments: &mut Vec<u8>, archive: Archive) -> Result<(), BuildError> {
    segments.resize(segments.len().next_multiple_of(4), 0);
    segments.extend(archive.finish_zstd(LEVEL).map_err(BuildError::Pack)?);
    segments.resize(segments.len().next_multiple_of(4), 0);
    Ok(())
}

pub(super) fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), BuildError> {
    fs::write(path, bytes).map_err(at("write", path))
}
