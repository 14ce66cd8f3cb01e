//! Log files of bounded size: those that the daemon writes itself, one that others hold open, and
//! all of a folder together.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use rustix::fs::OFlags;

/// A log that is longer is begun anew; one old one is kept.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What an old one is called.
const OLDER: &str = ".1";

/// Two that add to one log at once must not both begin it anew.
static WRITING: Mutex<()> = Mutex::new(());

/// Adds to a log of ours, which nobody else holds open, for its owner alone.
///
/// # Errors
/// It cannot be written.
pub(super) fn append(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = folder.join(name);
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::metadata(&path).is_ok_and(|log| log.len() > FILE_BYTES_MAX) {
        fs::rename(&path, folder.join(format!("{name}{OLDER}")))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Bounds a log that another process, or another part of this one, holds open to append to it: its
/// end goes to the old one, and it begins anew in place. Says how many bytes that gave back.
///
/// # Errors
/// It cannot be read or written. One that is not there has no error.
pub(super) fn bound(path: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.read(true).write(true).custom_flags(no_links);
    let mut log = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let metadata = log.metadata()?;
    let length = metadata.len();
    if !metadata.is_file() || length <= bytes_max {
        return Ok(0);
    }
    log.seek(SeekFrom::Start(length - bytes_max))?;
    let mut older = path.as_os_str().to_owned();
    older.push(OLDER);
    // The folder may be somebody's who is not trusted: what is in the way is not opened.
    match fs::remove_file(&older) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut new = File::options().create_new(true).write(true).mode(0o600).open(&older)?;
    io::copy(&mut (&log).take(bytes_max), &mut new)?;
    // What came since is lost with it; whoever holds it open goes on at its new end.
    log.set_len(0)?;
    Ok(length.saturating_sub(bytes_max))
}

/// Bounds all logs of a folder together: the one that nothing was added to for longest goes first,
/// but none that `stays`. Says how many bytes that gave back.
///
/// # Errors
/// The folder cannot be read, or a log cannot be removed.
pub(super) fn bound_all(
    folder: &Path,
    bytes_max: u64,
    stays: impl Fn(&str) -> bool,
) -> io::Result<u64> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            logs.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    logs.sort();
    let mut all: u64 = logs.iter().map(|(_, bytes, _)| bytes).sum();
    let mut freed = 0;
    for (_, bytes, path) in logs {
        if all <= bytes_max {
            break;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !stays(&name) {
            fs::remove_file(&path)?;
            all -= bytes;
            freed += bytes;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn a_log_is_begun_anew_and_one_old_one_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let chunk = "x".repeat(1 << 20);
        for _ in 0..40 {
            append(dir.path(), "a.log", &chunk).unwrap();
        }
        let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size("a.log") <= FILE_BYTES_MAX + chunk.len() as u64);
        assert!(size("a.log.1") > FILE_BYTES_MAX);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        let mode = fs::metadata(dir.path().join("a.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_somebody_holds_open_is_bounded_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for number in 0..1000 {
            writeln!(writer, "line {number}").unwrap();
        }
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!(bound(&path, length).unwrap(), 0, "long enough, not too long");
        assert_eq!(bound(&path, 100).unwrap(), length - 100);
        writeln!(writer, "after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n", "no hole, nothing lost");
        let older = fs::read_to_string(dir.path().join("console.log.1")).unwrap();
        assert!(older.ends_with("line 999\n") && older.len() == 100, "{older}");
        assert_eq!(bound(&dir.path().join("absent"), 100).unwrap(), 0);
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("a.log"));
        fs::write(&target, "x".repeat(1000)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(bound(&link, 10).is_err());
        fs::remove_file(&link).unwrap();
        fs::write(&link, "y".repeat(1000)).unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("a.log.1")).unwrap();
        assert_eq!(bound(&link, 10).unwrap(), 990);
        assert_eq!(fs::read(&target).unwrap(), "x".repeat(1000).as_bytes());
    }

    #[test]
    fn of_a_folder_the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in [(3, "undercloud.log"), (2, "b.log"), (1, "c.log"), (0, "d.log")] {
            let path = dir.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        let stays = |name: &str| name == "undercloud.log";
        assert_eq!(bound_all(dir.path(), 400, stays).unwrap(), 0);
        assert_eq!(bound_all(dir.path(), 250, stays).unwrap(), 200);
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["d.log", "undercloud.log"]);
    }
}
