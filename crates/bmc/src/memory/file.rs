//! A [`Memory`] in a file, which is whole at any moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use undercloud_durable::{Access, replace};
use undercloud_serve::Ended;

use super::{Memory, MemoryChanges, MemoryError};
use crate::accounts::Accounts;

/// Changes of this time are written together: clearing a log or a reset makes several.
const TOGETHER: Duration = Duration::from_millis(100);

/// Between tries to write what could not be written.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// Why there is no file.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says what cannot be.
    #[error("cannot use {}", path.display())]
    Use {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: MemoryError,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes a controller's memory down after every change; dropping it stops that.
#[derive(Debug)]
pub struct MemoryFile {
    memory: Memory,
    cancel: CancellationToken,
    writer: JoinHandle<()>,
    ended: Ended,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl MemoryFile {
    /// Reads `path`, or begins with `accounts` when it is not there, and writes it from now on.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`FileError`]: a file that cannot be used is left as it is, for somebody to look at.
    pub fn open(path: PathBuf, accounts: impl Into<Accounts>) -> Result<Self, FileError> {
        let memory = match fs::read(&path) {
            Ok(bytes) => Memory::from_json(&bytes)
                .map_err(|source| FileError::Use { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let memory = Memory::new(accounts);
                replace(&path, &memory.to_json(), Access::PRIVATE)
                    .map_err(|source| FileError::Write { path: path.clone(), source })?;
                memory
            }
            Err(source) => return Err(FileError::Read { path, source }),
        };
        let cancel = CancellationToken::new();
        // From here on: a change before the task runs for the first time is one, too.
        let changes = memory.changes();
        let (ended, keep) = Ended::of(keep(memory.clone(), changes, path.into(), cancel.clone()));
        Ok(Self { memory, cancel, writer: tokio::spawn(keep), ended })
    }

    /// What is written down.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Waits until changes are no longer written, which does not come by itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.wait()
    }

    /// Stops, after the last change is written.
    pub async fn close(mut self) {
        self.cancel.cancel();
        if let Err(error) = (&mut self.writer).await {
            tracing::error!(%error, "the memory of a BMC is not kept");
        }
    }
}

async fn keep(
    memory: Memory,
    mut changes: MemoryChanges,
    path: Arc<Path>,
    cancel: CancellationToken,
) {
    loop {
        let more = tokio::select! {
            biased;
            more = changes.next() => more,
            () = cancel.cancelled() => return,
        };
        if !more {
            return;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = sleep(TOGETHER) => {}
        }
        // A disk that is full now may have room again: until then, nothing that was answered "done"
        // is given up.
        while let Err(error) = write_now(&memory, &path).await {
            tracing::error!(%error, path = %path.display(), "cannot write what a BMC keeps");
            if cancel.run_until_cancelled(sleep(WRITE_AGAIN)).await.is_none() {
                return;
            }
        }
    }
}

async fn write_now(memory: &Memory, path: &Arc<Path>) -> io::Result<()> {
    // Whatever comes after this look is another change.
    let (value, to) = (memory.to_json(), path.clone());
    tokio::task::spawn_blocking(move || replace(&to, &value, Access::PRIVATE))
        .await
        .unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::credentials::Credentials;

    fn admin() -> Credentials {
        Credentials::new("admin", "0123456789abcdef").expect("credentials")
    }

    #[tokio::test]
    async fn changes_survive_and_nobody_else_reads_them() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("m1.json");
        let file = MemoryFile::open(path.clone(), admin()).expect("open");
        file.memory().nvram.change(|it| it.restore_policy = Some(1));
        file.close().await;
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Credentials::new("other", "0123456789abcdef").expect("credentials");
        let file = MemoryFile::open(path, other).expect("open");
        assert_eq!(file.memory().nvram.read(|it| it.restore_policy), Some(1));
        let name = file.memory().accounts.slot(2).map(|it| it.name);
        assert_eq!(name.as_deref(), Some("admin"), "the users are those that were kept");
    }

    #[tokio::test]
    async fn a_damaged_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("m1.json");
        fs::write(&path, b"{").expect("write");
        assert!(matches!(MemoryFile::open(path.clone(), admin()), Err(FileError::Use { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"{");
    }
}
