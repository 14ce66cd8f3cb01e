//! One daemon for one state: a lock that the kernel releases whatever happens to its holder.
//!
//! Whoever looks at it goes through a door first: the state's directory, locked while the lock is
//! taken and signed, or looked at. So a lock that is held has its holder's name in it, and nobody's
//! look is taken for a daemon.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{FlockOperation, flock},
    io::retry_on_intr,
};
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
        let _door = door(state)?;
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
    let _door = door(state).ok()?;
    let mut file = open(state).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return None;
    }
    holder_of(&mut file).trim().parse().ok()
}

/// Held for a moment: see the module. Let go when it is closed.
fn door(state: &StateDir) -> Result<File> {
    let path = state.root();
    let opened = || -> io::Result<File> {
        let door = File::open(path)?;
        retry_on_intr(|| flock(&door, FlockOperation::LockExclusive))?;
        Ok(door)
    };
    opened().with_context(|| format!("cannot lock {}", path.display()))
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

    #[test]
    fn of_many_at_once_one_holds_it_and_all_others_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("s")).unwrap();
        state.create().unwrap();
        fs::write(state.lock(), "1\n").unwrap();
        for _ in 0..200 {
            let taken: Vec<Result<Lock>> = std::thread::scope(|scope| {
                let takers: Vec<_> = (0..4).map(|_| scope.spawn(|| Lock::take(&state))).collect();
                let looker = scope.spawn(|| holder(&state));
                let seen = looker.join().unwrap();
                assert!(seen.is_none_or(|pid| pid == std::process::id()), "{seen:?}");
                takers.into_iter().map(|taker| taker.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1, "{taken:?}");
            let sentence = format!("as process {}", std::process::id());
            for refused in taken.iter().filter_map(|taken| taken.as_ref().err()) {
                assert!(refused.to_string().ends_with(&sentence), "{refused}");
            }
        }
    }
}
