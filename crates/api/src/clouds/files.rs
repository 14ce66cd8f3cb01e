//! The files of a user: written whole or not at all, theirs, and not for others to read.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_durable::{Access, replace};

use super::{CloudEntry, CloudsError, Owner, edit, stackrc};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The `clouds.yaml`.
    pub clouds: Utf8PathBuf,
    /// Whether it was changed.
    pub changed: bool,
}

fn failed(operation: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> CloudsError {
    let path = path.to_owned();
    move |source| CloudsError::Io { operation, path, source }
}

impl Owner {
    fn dir(&self) -> Utf8PathBuf {
        self.config_dir.join("openstack")
    }

    fn ca_path(&self, cloud: &str) -> Utf8PathBuf {
        self.dir().join(format!("{cloud}-ca.pem"))
    }
}

/// Merges these clouds into the user's `clouds.yaml`, in the place of those of the same `tag`, and
/// puts their certificates beside it. The tag names the installation: its state directory.
///
/// A file that others could read can only be read by its user afterwards: it holds passwords now.
///
/// # Errors
/// When the file cannot be edited safely; then it is as it was.
pub fn install(owner: &Owner, tag: &str, entries: &[CloudEntry]) -> Result<Installed, CloudsError> {
    make_dirs(owner, &owner.dir())?;
    let named: Vec<(&CloudEntry, String)> =
        entries.iter().map(|e| (e, owner.ca_path(&e.name).into_string())).collect();
    // First the file: with another's cloud of this name in it the certificate is another's too.
    let installed = change(owner, tag, &named)?;
    for entry in entries {
        let path = owner.ca_path(&entry.name);
        if read(owner, &path)?.as_deref() != Some(&entry.ca_pem) {
            write(owner, &path, &entry.ca_pem, 0o644)?;
        }
    }
    Ok(installed)
}

/// Removes what [`install`] wrote with this tag; says whether there was something. `names` are the
/// clouds that it may have written.
///
/// # Errors
/// When the file cannot be edited safely; then it is as it was.
pub fn uninstall(owner: &Owner, tag: &str, names: &[&str]) -> Result<bool, CloudsError> {
    let Installed { changed, .. } = change(owner, tag, &[])?;
    // Without an entry of ours a certificate of that name is not ours either.
    for name in names.iter().filter(|_| changed) {
        let path = owner.ca_path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(e));
            }
            _ => {}
        }
    }
    Ok(changed)
}

/// Writes a file to source, 0600, which names the certificate at `ca`. That is not the one beside
/// the user's `clouds.yaml`: it may be another installation's, if both have a cloud of this name.
///
/// # Errors
/// When the file system refuses.
pub fn write_stackrc(
    owner: &Owner,
    path: &Utf8Path,
    entry: &CloudEntry,
    ca: &Utf8Path,
) -> Result<(), CloudsError> {
    write(owner, path, &stackrc::text(entry, ca.as_str()), 0o600)
}

fn change(
    owner: &Owner,
    tag: &str,
    entries: &[(&CloudEntry, String)],
) -> Result<Installed, CloudsError> {
    let named = owner.dir().join("clouds.yaml");
    // Some keep it in another place and have a link here.
    let path = named.canonicalize_utf8().unwrap_or_else(|_| named.clone());
    let before = read(owner, &path)?;
    let after = edit::edit(before.as_deref().unwrap_or_default(), tag, entries)
        .map_err(|why| CloudsError::Edit { path: named.clone(), why })?;
    let changed = before != after;
    match after {
        Some(text) if changed => write(owner, &path, &text, 0o600)?,
        // Nothing of the user's is in it.
        None if changed => fs::remove_file(&path).map_err(failed("remove", &path))?,
        _ => {}
    }
    Ok(Installed { clouds: named, changed })
}

/// The text of a file that is the owner's, if there is one.
fn read(owner: &Owner, path: &Utf8Path) -> Result<Option<String>, CloudsError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("look at", path)(e)),
        Ok(there) if there.uid() != owner.uid => {
            return Err(CloudsError::NotOwned { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(failed("read", path))
}

fn write(owner: &Owner, path: &Utf8Path, text: &str, mode: u32) -> Result<(), CloudsError> {
    let access = Access::mode(mode).of(Some(owner.uid), Some(owner.gid));
    replace(path.as_std_path(), text.as_bytes(), access).map_err(failed("write", path))
}

/// Makes a directory and those above it that are missing, for the owner alone.
fn make_dirs(owner: &Owner, dir: &Utf8Path) -> Result<(), CloudsError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        make_dirs(owner, above)?;
    }
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(failed("make the directory", dir))?;
    chown(dir, Some(owner.uid), Some(owner.gid)).map_err(failed("give away", dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use undercloud_model::Secret;

    use super::*;

    fn owner(dir: &tempfile::TempDir) -> Owner {
        let config_dir = Utf8Path::from_path(dir.path()).unwrap().join("home/.config");
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Owner { uid: uid.as_raw(), gid: gid.as_raw(), config_dir }
    }

    fn cloud() -> CloudEntry {
        CloudEntry {
            name: "undercloud".into(),
            auth_url: "https://127.0.0.1:5000/identity/v3".into(),
            username: "admin".into(),
            password: Secret::new("p"),
            project: "admin".into(),
            domain: "Default".into(),
            region: "RegionOne".into(),
            ca_pem: "PEM\n".into(),
        }
    }

    #[test]
    fn everything_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let owner = owner(&dir);
        assert!(!uninstall(&owner, "t", &["undercloud"]).unwrap());
        let installed = install(&owner, "t", &[cloud()]).unwrap();
        assert!(installed.changed);
        assert!(!install(&owner, "t", &[cloud()]).unwrap().changed, "again changes nothing");
        let rc = owner.dir().join("stackrc");
        write_stackrc(&owner, &rc, &cloud(), Utf8Path::new("/ca.pem")).unwrap();
        for path in [&installed.clouds, &rc] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600, "{path}");
        }
        fs::remove_file(&rc).unwrap();
        assert!(uninstall(&owner, "t", &["undercloud"]).unwrap());
        assert_eq!(fs::read_dir(owner.dir()).unwrap().count(), 0);
    }

    #[test]
    fn two_installations_keep_their_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let owner = owner(&dir);
        install(&owner, "/a", &[cloud()]).unwrap();
        let over = CloudEntry { name: "overcloud".into(), ..cloud() };
        install(&owner, "/a (overcloud)", &[over]).unwrap();
        let other = CloudEntry { ca_pem: "OTHER\n".into(), ..cloud() };
        let error = install(&owner, "/b", &[other]).unwrap_err();
        assert!(matches!(error, CloudsError::Edit { .. }), "{error}");
        let ca = owner.ca_path("undercloud");
        assert_eq!(fs::read_to_string(&ca).unwrap(), "PEM\n");
        assert!(!uninstall(&owner, "/b", &["undercloud"]).unwrap());
        assert!(ca.exists());
        // One goes without the other.
        assert!(uninstall(&owner, "/a", &["undercloud"]).unwrap());
        assert!(!ca.exists() && owner.ca_path("overcloud").exists());
        let text = fs::read_to_string(owner.dir().join("clouds.yaml")).unwrap();
        assert!(text.contains("  overcloud:") && !text.contains("undercloud:"), "{text}");
    }

    #[test]
    fn a_linked_file_stays_linked_and_becomes_private() {
        let dir = tempfile::tempdir().unwrap();
        let owner = owner(&dir);
        make_dirs(&owner, &owner.dir()).unwrap();
        let real = Utf8Path::from_path(dir.path()).unwrap().join("dotfiles.yaml");
        let link = owner.dir().join("clouds.yaml");
        fs::write(&real, "clouds:\n  a: {}\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        install(&owner, "t", &[cloud()]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o600);
        uninstall(&owner, "t", &["undercloud"]).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "clouds:\n  a: {}\n");
        let stranger = Owner { uid: owner.uid + 1, ..owner };
        assert!(matches!(install(&stranger, "t", &[cloud()]), Err(CloudsError::NotOwned { .. })));
        assert_eq!(fs::read_to_string(&real).unwrap(), "clouds:\n  a: {}\n");
    }
}
