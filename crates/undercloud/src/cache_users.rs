//! Which states of this host built from the cache that they share: a file for each in it, by which
//! `down --purge` knows whose it would take away.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::state::StateDir;

/// A folder of the cache.
const FOLDER: &str = "users";

/// This state builds from the cache.
///
/// # Errors
/// The cache cannot be written.
pub(crate) fn note(cache: &Path, state: &StateDir) -> Result<()> {
    let folder = cache.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = file_of(cache, state);
    fs::write(&file, state.root().as_os_str().as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The state is gone.
///
/// # Errors
/// The cache cannot be written.
pub(crate) fn forget(cache: &Path, state: &StateDir) -> Result<()> {
    let file = file_of(cache, state);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The other states that built from it and are there still, by name.
///
/// # Errors
/// The cache cannot be read.
pub(crate) fn others(cache: &Path, state: &StateDir) -> Result<Vec<PathBuf>> {
    let folder = cache.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let root = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let root = PathBuf::from(std::ffi::OsString::from_vec(root));
        // One that was removed by hand uses nothing.
        if root != state.root() && root.is_dir() {
            found.push(root);
        }
    }
    found.sort();
    Ok(found)
}

fn file_of(cache: &Path, state: &StateDir) -> PathBuf {
    cache.join(FOLDER).join(format!("{:08x}", state.tag()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_there_still_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let state = |name: &str| {
            let state = StateDir::new(&dir.path().join(name)).unwrap();
            state.create().unwrap();
            state
        };
        let (mine, other, gone) = (state("mine"), state("other"), state("gone"));
        assert!(others(&cache, &mine).unwrap().is_empty(), "there is no cache");
        for state in [&mine, &other, &gone, &mine] {
            note(&cache, state).unwrap();
        }
        gone.remove().unwrap();
        assert_eq!(others(&cache, &mine).unwrap(), [other.root()]);
        forget(&cache, &other).unwrap();
        forget(&cache, &other).unwrap();
        assert!(others(&cache, &mine).unwrap().is_empty());
    }
}
