//! A copy of a lab's files becomes a lab of its own.
//!
//! Inside its machines nothing changes: interfaces, addresses and disks are those of the first one, in a
//! network namespace of the copy's own. What this host tells them apart by changes: the users that they
//! run as, and the GUIDs that their processes are found by.

use std::{io, os::unix::fs::MetadataExt as _};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use super::{Definition, Lab, read, write};
use crate::{LabError, LabNames, MachineDefinition};

impl Lab {
    /// Makes the copied files of a lab in the state `copy` those of the lab that has these names. Does
    /// nothing where there is no lab. Say it before anything opens the lab.
    ///
    /// # Errors
    /// When a file cannot be read, written or given to another user.
    pub fn adopt(copy: &Utf8Path, names: &LabNames) -> Result<Vec<MachineDefinition>, LabError> {
        let directory = LabNames::directory(copy);
        let Some(mut definition) = read(&directory)? else { return Ok(Vec::new()) };
        let Definition { machines, leaving, .. } = &mut definition;
        for machine in machines.iter_mut().chain(leaving) {
            let (before, after) = (machine.uid, names.uid(&machine.name));
            give(&directory.join("machines").join(machine.name.as_str()), before, after)?;
            machine.uid = after;
            machine.system_guid = names.system_guid(&machine.name);
        }
        write(&directory, &definition)?;
        Ok(definition.machines)
    }
}

/// Gives what is one user's, or that user's group's, to another user and group. Links are not followed.
fn give(path: &Utf8Path, from: u32, to: u32) -> Result<(), LabError> {
    let failed = |error: io::Error| LabError::file("set the owner of", path)(error);
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    let (user, group) = (meta.uid() == from, meta.gid() == from);
    if user || group {
        let user = user.then(|| Uid::from_raw(to));
        let group = group.then(|| Gid::from_raw(to));
        chownat(CWD, path.as_std_path(), user, group, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(error.into()))?;
    }
    if meta.is_dir() {
        let entries = path.read_dir_utf8().map_err(failed)?;
        for entry in entries {
            give(entry.map_err(failed)?.path(), from, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a skipped test says why")]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use camino::Utf8PathBuf;

    use super::*;
    use crate::LabConfig;

    #[test]
    fn a_copy_keeps_what_is_inside_and_has_users_and_guids_of_its_own() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let copy = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let first = LabNames::from_real_path(Utf8Path::new("/first"));
        let second = LabNames::from_real_path(Utf8Path::new("/second"));
        assert!(Lab::adopt(&copy, &second).unwrap().is_empty(), "there is no lab");
        let made = Definition::of(&first, &LabConfig::default());
        let machine = &made.machines[0];
        let root = copy.join("lab/machines").join(machine.name.as_str());
        std::fs::create_dir_all(root.join("vm")).unwrap();
        let outside = copy.join("outside");
        for file in [&root.join("vm/disk.raw"), &root.join("cd.iso"), &outside] {
            std::fs::write(file, "").unwrap();
        }
        symlink(&outside, root.join("vm/link")).unwrap();
        chown(root.join("vm/disk.raw"), Some(machine.uid), Some(machine.uid)).unwrap();
        chown(root.join("cd.iso"), Some(0), Some(machine.uid)).unwrap();
        chown(&outside, Some(machine.uid), None).unwrap();
        write(&copy.join("lab"), &made).unwrap();
        let adopted = Lab::adopt(&copy, &second).unwrap();
        let owner = |path: &Utf8Path| {
            let meta = std::fs::symlink_metadata(path).unwrap();
            (meta.uid(), meta.gid())
        };
        let uid = adopted[0].uid;
        assert_eq!(owner(&root.join("vm/disk.raw")), (uid, uid));
        assert_eq!(owner(&root.join("cd.iso")), (0, uid));
        assert_eq!(owner(&outside).0, machine.uid, "a link is not followed");
        for (old, new) in made.machines.iter().zip(&adopted) {
            assert!(old.uid != new.uid && old.system_guid != new.system_guid);
            let (uid, system_guid) = (old.uid, old.system_guid);
            assert_eq!(&MachineDefinition { uid, system_guid, ..new.clone() }, old);
        }
        assert_eq!(read(&copy.join("lab")).unwrap().unwrap().machines, adopted);
    }
}
