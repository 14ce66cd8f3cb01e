//! The build cache: one directory, one builder at a time, and entries that are whole or not there.
//!
//! An entry is made in `tmp/` and renamed to `NAME-KEY` when it is complete. Whoever takes the lock
//! removes what a dead builder left in `tmp/`.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock, statvfs};
use undercloud_model::Digest;

use super::{BuildError, at, mounts::unmount_below};

/// A cache that is locked for us.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: Utf8PathBuf,
    _lock: File,
}

impl Cache {
    /// Makes the directory if need be, waits for nobody, takes the lock.
    pub(crate) fn lock(dir: &Utf8Path) -> Result<Self, BuildError> {
        // Only root: the APT settings in it may hold a proxy's password.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(at("make the directory", dir))?;
        let path = dir.join("lock");
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let lock = file.map_err(at("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(e) if io::Error::from(e).kind() == io::ErrorKind::WouldBlock => {
                return Err(BuildError::Busy(dir.to_owned()));
            }
            Err(e) => return Err(at("lock", &path)(e.into())),
        }
        let cache = Self { dir: dir.to_owned(), _lock: lock };
        unmount_below(dir)?;
        cache.empty_tmp()?;
        Ok(cache)
    }

    /// Removes what is in [`Cache::tmp`].
    pub(crate) fn empty_tmp(&self) -> Result<(), BuildError> {
        let tmp = self.tmp();
        remove_tree(&tmp)?;
        fs::create_dir(&tmp).map_err(at("make the directory", &tmp))
    }

    /// For files of this build; gone after the next lock.
    pub(crate) fn tmp(&self) -> Utf8PathBuf {
        self.dir.join("tmp")
    }

    /// The entry, whether or not it is there.
    pub(crate) fn entry(&self, name: &str, key: &Digest) -> Utf8PathBuf {
        self.dir.join(format!("{name}-{}", &key.hex()[..24]))
    }

    /// The entry, made by `make` in a directory of its own if it is not there yet.
    pub(crate) fn entry_or<F>(
        &self,
        name: &str,
        key: &Digest,
        make: F,
    ) -> Result<Utf8PathBuf, BuildError>
    where
        F: FnOnce(&Utf8Path) -> Result<(), BuildError>,
    {
        let entry = self.entry(name, key);
        if entry.exists() {
            return Ok(entry);
        }
        let new = self.tmp().join(format!("{name}-new"));
        fs::create_dir(&new).map_err(at("make the directory", &new))?;
        make(&new)?;
        // A power cut must not leave the name without the content.
        let dir = File::open(&new).map_err(at("open", &new))?;
        rustix::fs::syncfs(&dir).map_err(|e| at("sync", &new)(e.into()))?;
        fs::rename(&new, &entry).map_err(at("rename to", &entry))?;
        Ok(entry)
    }

    /// Removes older entries of the same name.
    pub(crate) fn keep_only(&self, name: &str, key: &Digest) -> Result<(), BuildError> {
        let keep = self.entry(name, key);
        let prefix = format!("{name}-");
        for entry in self.dir.read_dir_utf8().map_err(at("list", &self.dir))? {
            let path = entry.map_err(at("list", &self.dir))?.into_path();
            let key = path.file_name().and_then(|name| name.strip_prefix(&prefix));
            // A longer name with the same beginning is another entry's.
            let old = key.is_some_and(|key| !key.contains('-')) && path != keep;
            if old {
                // In `tmp` first: half a removed entry would look like one.
                let doomed = self.tmp().join(path.file_name().unwrap_or_default());
                fs::rename(&path, &doomed).map_err(at("rename to", &doomed))?;
                remove_tree(&doomed)?;
            }
        }
        Ok(())
    }

    /// Fails, with the numbers, when the file system has less than `need` bytes free.
    pub(crate) fn want_free(&self, need: u64) -> Result<(), BuildError> {
        want_free(&self.dir, need)
    }
}

/// Fails when one of `taken` is in the cache's path: `program` would not take it as it stands.
pub(crate) fn want_path(
    dir: &Utf8Path,
    taken: &[char],
    program: &'static str,
) -> Result<(), BuildError> {
    let found = dir.as_str().chars().find(|c| taken.contains(c) || c.is_control());
    match found {
        Some(what) => Err(BuildError::Path { path: dir.to_owned(), what, program }),
        None => Ok(()),
    }
}

/// Fails, with the numbers, when `dir`'s file system has less than `need` bytes free.
pub(crate) fn want_free(dir: &Utf8Path, need: u64) -> Result<(), BuildError> {
    let stat = statvfs(dir.as_std_path()).map_err(|e| at("look at", dir)(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < need { Err(BuildError::NoSpace { dir: dir.to_owned(), need, free }) } else { Ok(()) }
}

/// Removes what is there, if anything is.
pub(crate) fn remove_tree(path: &Utf8Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            fs::remove_file(path).map_err(at("remove", path))
        }
        Err(e) => Err(at("remove", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest_of;

    fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("cache")).unwrap();
        (dir, path)
    }

    #[test]
    fn an_entry_is_made_once_and_half_a_one_is_none() {
        let (_dir, path) = dir();
        let key = digest_of(b"1");
        let cache = Cache::lock(&path).unwrap();
        let broken = cache.entry_or("x", &key, |new| {
            fs::write(new.join("a"), "half").unwrap();
            Err(BuildError::NoKeyring)
        });
        assert!(broken.is_err());
        drop(cache);
        let cache = Cache::lock(&path).unwrap();
        let make = |new: &Utf8Path| {
            assert!(!new.join("a").exists());
            fs::write(new.join("a"), "whole").map_err(at("write", new))
        };
        let entry = cache.entry_or("x", &key, make).unwrap();
        assert_eq!(fs::read_to_string(entry.join("a")).unwrap(), "whole");
        cache.entry_or("x", &key, |_| panic!("made twice")).unwrap();
        let other = cache.entry_or("x", &digest_of(b"2"), |_| Ok(())).unwrap();
        cache.keep_only("x", &digest_of(b"2")).unwrap();
        assert!(!entry.exists() && other.exists());
    }

    #[test]
    fn what_is_mounted_in_a_dead_builders_directory_is_not_removed_with_it() {
        const HERE: &str = "build::cache::tests::\
            what_is_mounted_in_a_dead_builders_directory_is_not_removed_with_it";
        if !rustix::process::geteuid().is_root() {
            println!("not root: nothing can be mounted, and this test shows nothing");
            return;
        }
        // In a mount namespace of its own, so that a failure leaves nothing on the host.
        if std::env::var_os("UNDERCLOUD_TEST_MOUNTS").is_none() {
            let mut inside = std::process::Command::new("unshare");
            inside.arg("--mount").arg(std::env::current_exe().unwrap()).args(["--exact", HERE]);
            let status = inside.env("UNDERCLOUD_TEST_MOUNTS", "1").status().unwrap();
            assert!(status.success());
            return;
        }
        let (_dir, path) = dir();
        let (precious, point) = (path.with_file_name("precious"), path.join("tmp/new/dev"));
        fs::create_dir_all(&precious).unwrap();
        fs::create_dir_all(&point).unwrap();
        fs::write(precious.join("file"), "x").unwrap();
        let mut mount = std::process::Command::new("mount");
        assert!(mount.arg("--bind").args([&precious, &point]).status().unwrap().success());
        assert!(point.join("file").exists());
        Cache::lock(&path).unwrap();
        assert!(!path.join("tmp/new").exists());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "x");
    }

    #[test]
    fn a_second_builder_is_told_to_wait() {
        let (_dir, path) = dir();
        let _first = Cache::lock(&path).unwrap();
        assert!(matches!(Cache::lock(&path), Err(BuildError::Busy(_))));
    }

    #[test]
    fn a_path_that_programs_would_misread_is_refused_before_they_do() {
        want_path("/srv/ca che=ö".into(), &[':', ',', '"'], "podman").unwrap();
        for (path, what) in [("/srv/a:2", "`:`"), ("/srv/a,b", "`,`"), ("/srv/a\"b", "`\"`")] {
            let error = want_path(path.into(), &[':', ',', '"'], "podman").unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.to_string().contains("--cache"), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_noticed_before_work_begins() {
        let (_dir, path) = dir();
        let cache = Cache::lock(&path).unwrap();
        cache.want_free(1).unwrap();
        let err = cache.want_free(u64::MAX).unwrap_err();
        assert!(matches!(err, BuildError::NoSpace { .. }), "{err}");
    }
}
