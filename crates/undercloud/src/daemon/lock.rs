//! One daemon for one state: a lock that the kernel releases whatever happens to its holder.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use undercloud_model::ErrorKind;

use crate::{failure::Failure, state::StateDir};

/// Held while the daemon runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes our process id into it.
    ///
    /// # Errors
    /// When a daemon of this state runs already.
    pub(crate) fn take(state: &StateDir) -> Result<Self> {
        let mut file = open(state)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = holder_of(&mut file);
            let place = state.root().display();
            let message = format!("a daemon of {place} runs already, as process {pid}");
            return Err(Failure::new(ErrorKind::Conflict, message)
                .hint("undercloud status")
                .into());
        }
        let pid = std::process::id();
        let written = file.set_len(0).and_then(|()| file.rewind());
        let written = written.and_then(|()| writeln!(file, "{pid}"));
        written.with_context(|| format!("cannot write {}", state.lock().display()))?;
        Ok(Self { _file: file })
    }
}

/// The process that holds the lock of `state`, if one does.
pub(crate) fn holder(state: &StateDir) -> Option<u32> {
    if !state.lock().exists() {
        return None;
    }
    let mut file = open(state).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return None;
    }
    holder_of(&mut file).trim().parse().ok()
}

fn open(state: &StateDir) -> Result<File> {
    let path = state.lock();
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn holder_of(file: &mut File) -> String {
    let mut text = String::new();
    let _unreadable_is_empty = file.read_to_string(&mut text);
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("s")).unwrap();
        state.create().unwrap();
        assert_eq!(holder(&state), None);
        let lock = Lock::take(&state).unwrap();
        assert_eq!(holder(&state), Some(std::process::id()));
        let error = Lock::take(&state).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        assert_eq!(holder(&state), None);
    }
}
