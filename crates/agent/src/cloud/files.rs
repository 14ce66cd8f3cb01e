//! Files and directories as they must be: compared first, written only where they differ, each
//! whole or not at all.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::Path,
};

use undercloud_durable::{Access, replace};
use undercloud_model::agent::StepFailure;

use super::system;
use crate::sys::Host;

/// A file as it must be. `path` has no leading slash and went through [`super::check`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a str,
    pub(super) mode: u32,
    /// Its owner's number; the agent's where nobody is named.
    pub(super) uid: Option<u32>,
    pub(super) content: &'a [u8],
}

impl<'a> Wanted<'a> {
    /// A file that everybody may read.
    pub(super) fn public(path: &'a str, content: &'a str) -> Self {
        Self { path, mode: 0o644, uid: None, content: content.as_bytes() }
    }

    /// Whether the file is as it must be: bytes, mode and owner.
    pub(super) fn is_there(&self, host: &Host) -> bool {
        let same = || -> io::Result<bool> {
            let path = host.path(self.path);
            // Not through a link: it would be somebody else's file.
            let meta = fs::symlink_metadata(&path)?;
            if !meta.is_file()
                || meta.len() != self.content.len() as u64
                || meta.mode() & 0o7777 != self.mode
                || self.uid.is_some_and(|uid| uid != meta.uid())
            {
                return Ok(false);
            }
            let mut bytes = Vec::with_capacity(self.content.len());
            fs::File::open(path)?.take(meta.len() + 1).read_to_end(&mut bytes)?;
            Ok(bytes == self.content)
        };
        same().unwrap_or(false)
    }

    /// Makes it so.
    pub(super) fn write(&self, host: &Host) -> Result<(), StepFailure> {
        let target = host.path(self.path);
        let put = || -> io::Result<()> {
            let dir = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
            DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            replace(&target, self.content, Access::mode(self.mode).of(self.uid, None))
        };
        put().map_err(|e| system(format_args!("cannot write /{}: {e}", self.path)))
    }

    /// Makes it so where it is not; says whether it had to.
    pub(super) fn ensure(&self, host: &Host) -> Result<bool, StepFailure> {
        if self.is_there(host) {
            return Ok(false);
        }
        self.write(host)?;
        Ok(true)
    }
}

/// Removes a file; says whether it was there.
pub(super) fn remove(host: &Host, path: &str) -> Result<bool, StepFailure> {
    remove_if_there(&host.path(path))
        .map_err(|e| system(format_args!("cannot remove /{path}: {e}")))
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes a directory with this mode and owner, or mends them; says whether it had to.
pub(super) fn ensure_dir(
    host: &Host,
    path: &str,
    mode: u32,
    uid: u32,
) -> Result<bool, StepFailure> {
    let at = host.path(path);
    let make = || -> io::Result<bool> {
        let meta = match fs::metadata(&at) {
            Ok(meta) if !meta.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = at.parent().ok_or(io::ErrorKind::InvalidInput)?;
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                // Several steps are done at once, and two may want the same directory.
                match DirBuilder::new().mode(0o700).create(&at) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    Ok(()) | Err(_) => {}
                }
                fs::metadata(&at)?
            }
            Err(e) => return Err(e),
        };
        let (owner, bits) = (meta.uid() != uid, meta.mode() & 0o7777 != mode);
        if owner {
            chown(&at, Some(uid), None)?;
        }
        if bits {
            fs::set_permissions(&at, Permissions::from_mode(mode))?;
        }
        Ok(owner || bits)
    };
    make().map_err(|e| system(format_args!("cannot make the directory /{path}: {e}")))
}

/// The files below a directory, as paths without a leading slash; none where it is not there.
pub(super) fn below(host: &Host, dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for name in host.names(&dir) {
            let path = format!("{dir}/{name}");
            let is_dir = fs::symlink_metadata(host.path(&path)).is_ok_and(|m| m.is_dir());
            if is_dir { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}
