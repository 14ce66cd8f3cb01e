//! Which domains have a BMC, and how it is reached: a file that is whole at any moment.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use undercloud_model::{Secret, expose_on_the_wire};
use uuid::Uuid;

use crate::whole_file;

/// One BMC, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) uuid: Uuid,
    pub(super) libvirt_uri: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Whether it is to run.
    pub(super) active: bool,
    /// The first user, as it was made; what a client of the BMC changed since is the BMC's.
    pub(super) user: String,
    #[serde(serialize_with = "expose_on_the_wire")]
    pub(super) password: Secret,
}

/// By the domain's name.
pub(super) type Entries = BTreeMap<String, Entry>;

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    entries: Mutex<Entries>,
}

impl Book {
    /// Reads it; a book that nobody has written in is empty.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let entries = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Entries::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self { path, entries: Mutex::new(entries) })
    }

    /// What is in it.
    pub(super) fn entries(&self) -> Entries {
        self.lock().clone()
    }

    /// Changes it, on the disk first.
    pub(super) fn change(&self, change: impl FnOnce(&mut Entries)) -> Result<()> {
        let mut entries = self.lock();
        let mut changed = entries.clone();
        change(&mut changed);
        if changed != *entries {
            whole_file::write(&self.path, &serde_json::to_vec_pretty(&changed)?)?;
            *entries = changed;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Replaced in one assignment: a poisoned value is still whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(port: u16) -> Entry {
        Entry {
            uuid: Uuid::nil(),
            libvirt_uri: "qemu:///system".into(),
            address: [127, 0, 0, 1].into(),
            port,
            active: true,
            user: "admin".into(),
            password: Secret::new("0123456789abcdefghij"),
        }
    }

    #[test]
    fn what_is_written_is_there_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.json");
        let book = Book::open(path.clone()).unwrap();
        book.change(|entries| drop(entries.insert("--web".into(), entry(6230)))).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Book::open(path).unwrap();
        assert_eq!(again.entries(), Entries::from([("--web".to_owned(), entry(6230))]));
    }

    #[test]
    fn a_write_that_was_cut_off_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.json");
        let book = Book::open(path.clone()).unwrap();
        book.change(|entries| drop(entries.insert("web".into(), entry(6230)))).unwrap();
        fs::write(path.with_extension("partial"), b"{\"web\": {\"uu").unwrap();
        let again = Book::open(path).unwrap();
        assert_eq!(again.entries().len(), 1);
        again.change(|entries| drop(entries.insert("db".into(), entry(6231)))).unwrap();
        assert_eq!(again.entries().len(), 2);
    }

    #[test]
    fn a_book_that_cannot_be_written_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path().join("gone/book.json")).unwrap();
        assert!(book.change(|entries| drop(entries.insert("web".into(), entry(1)))).is_err());
        assert!(book.entries().is_empty());
    }
}
