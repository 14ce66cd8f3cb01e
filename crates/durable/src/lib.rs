//! Files that are there whole or not at all, also after a power cut. Knows what no file is for.
//!
//! A file is written beside its place, made durable, given its name in one step, and then the name is
//! made durable: rename(2) is one step for who looks, and fsync(2) of the directory for who comes after
//! a power cut.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// For whom a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Access {
    /// For who writes it, alone: mode 0600.
    pub const PRIVATE: Self = Self::mode(0o600);

    /// With this mode, whatever the process's mask is.
    pub const fn mode(mode: u32) -> Self {
        Self { mode, uid: None, gid: None }
    }

    /// Of this user and group, where they are given.
    #[must_use]
    pub const fn of(self, uid: Option<u32>, gid: Option<u32>) -> Self {
        Self { uid, gid, ..self }
    }
}

/// Puts `bytes` in the place of the file at `path`, or makes it. Who reads it sees the old one or the
/// new one. Two processes, or two threads, may do so at once: one of them is last.
///
/// # Errors
/// When the file system refuses; what was at `path` is there still, and nothing is left beside it.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let beside = beside(path)?;
    let written = write(&beside, bytes, access).and_then(|()| rename(&beside, path));
    if written.is_err() {
        // The error to tell is the first one.
        let _not_there = fs::remove_file(&beside);
    }
    written
}

/// Gives a file whose bytes are durable already the name `to`, in the same file system, for good.
///
/// # Errors
/// When the file system refuses.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A name beside `path` that nobody else uses at this time.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.new", std::process::id()));
    Ok(path.with_file_name(name))
}

fn write(beside: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    // Of a process that had this number before us and was killed.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // No link is followed, and until it is whole it is nobody else's.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    if access.uid.is_some() || access.gid.is_some() {
        fchown(&file, access.uid, access.gid)?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        for (text, mode) in [("first", 0o600), ("second", 0o644), ("third", 0o666)] {
            replace(&path, text.as_bytes(), Access::mode(mode)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_there_stays_when_it_cannot_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(replace(&folder, b"x", Access::PRIVATE).is_err(), "a file is no directory");
        assert!(folder.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let error = replace(&dir.path().join("no/file"), b"x", Access::PRIVATE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(replace(Path::new("/"), b"x", Access::PRIVATE).is_err(), "it has no name");
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (other, path) = (dir.path().join("other"), dir.path().join("file"));
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        replace(&path, b"ours", Access::PRIVATE).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn many_may_replace_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::thread::scope(|scope| {
            for letter in *b"abcdefgh" {
                let path = &path;
                scope.spawn(move || replace(path, &[letter; 1000], Access::PRIVATE).unwrap());
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
