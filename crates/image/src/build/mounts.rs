//! Mounts that a build left: one that was killed by an earlier version of this program, or together
//! with the host's power. They go before anything is removed: whoever removes a directory tree walks
//! into what is mounted there.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::mount::{UnmountFlags, unmount};

use super::{BuildError, at};

/// Takes away every mount below `dir`, the last one first.
pub(crate) fn unmount_below(dir: &Utf8Path) -> Result<(), BuildError> {
    let table = Utf8Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(at("read", table))?;
    for path in mounts_below(&text, dir).into_iter().rev() {
        let done = unmount(path.as_std_path(), UnmountFlags::DETACH);
        done.map_err(|e| at("unmount", &path)(e.into()))?;
    }
    Ok(())
}

/// The mount points below `dir`, in the order of mounting (proc_pid_mountinfo(5)).
fn mounts_below(table: &str, dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let paths = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    paths.map(Utf8PathBuf::from).filter(|path| path.starts_with(dir) && path != dir).collect()
}

/// Blanks, line ends and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_are_taken_away_in_reverse() {
        let table = "22 1 8:1 / / rw - ext4 /dev/vda rw\n\
            30 22 8:1 /c /var/c\\040x/storage/overlay rw - ext4 /dev/vda rw\n\
            31 30 0:3 / /var/c\\040x/storage/overlay/a/merged rw - overlay overlay rw\n\
            32 22 0:4 / /var/c\\040xy rw - tmpfs tmpfs rw\n\
            33 22 0:5 / /var/c\\040x rw - tmpfs tmpfs rw\nshort line\n";
        let found = mounts_below(table, Utf8Path::new("/var/c x"));
        assert_eq!(found, ["/var/c x/storage/overlay", "/var/c x/storage/overlay/a/merged"]);
    }
}
