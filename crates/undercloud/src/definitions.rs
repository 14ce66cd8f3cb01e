//! A site's own services, roles, container images and settings, as files below a directory of its
//! own (`services/README.md`, "A site's own files").

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::Result;
use undercloud_cloud::{
    CloudConfig, Definitions,
    definition::{DIRECTORIES, Overlay},
};
use undercloud_image::container;
use undercloud_model::{ErrorKind, nearest};

use crate::failure::Failure;

/// Where a site's files are when nobody says otherwise.
pub(crate) const DEFAULT: &str = "/etc/undercloud";

/// A file is text that people write.
const FILE_BYTES_MAX: u64 = 256 << 10;
const FILES_MAX: usize = 2000;
/// Below the directory; deeper is nobody's intention.
const DEPTH_MAX: usize = 6;

/// Everything that ships, by path.
pub(crate) fn shipped() -> impl Iterator<Item = (String, &'static str)> {
    let services =
        Definitions::shipped_files().iter().map(|(path, text)| ((*path).to_owned(), *text));
    let cloud = ("cloud.toml".to_owned(), CloudConfig::shipped_text());
    services.chain(container::shipped_files()).chain([cloud])
}

/// Whether a file of that path ships.
pub(crate) fn is_shipped(path: &str) -> bool {
    shipped().any(|(shipped, _)| shipped == path)
}

/// Reads what is below `directory`. Where it is not there, nothing is.
///
/// # Errors
/// What cannot be read or is no text, and files in places where nothing is read; each with its path.
pub(crate) fn read(directory: &Path) -> Result<Overlay> {
    let mut files = BTreeMap::new();
    for name in names(directory)? {
        let path = directory.join(&name);
        if DIRECTORIES.contains(&name.as_str()) {
            collect(&path, &name, &mut files, 1)?;
        } else if path.is_dir() {
            let kinds = nearest(&name, DIRECTORIES);
            let meant = kinds.first().map(|kind| format!("; did you mean `{kind}`?"));
            // What else a site keeps there is its own business; a slip is ours.
            if let Some(meant) = meant {
                let message = format!("{}: nothing is read from there{meant}", path.display());
                return Err(Failure::new(ErrorKind::Invalid, message).into());
            }
        }
    }
    Overlay::new(files).map_err(|error| {
        let message = format!("{}/{error}", directory.display());
        Failure::new(ErrorKind::Invalid, message).into()
    })
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(directory, &error))?;
        let name = entry.file_name().into_string().map_err(|name| {
            let path = directory.join(name);
            Failure::new(
                ErrorKind::Invalid,
                format!("{}: the name is no UTF-8: rename it", path.display()),
            )
        })?;
        // An editor's, a package manager's, or words for people.
        let is_ours = !name.starts_with('.')
            && ![".md", "~", ".dpkg-old", ".dpkg-dist", ".swp"]
                .iter()
                .any(|end| name.ends_with(end));
        if is_ours {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn collect(
    path: &Path,
    below: &str,
    files: &mut BTreeMap<String, String>,
    depth: usize,
) -> Result<()> {
    let invalid = |why: String| -> Result<()> {
        Err(Failure::new(ErrorKind::Invalid, format!("{}: {why}", path.display())).into())
    };
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if about.is_dir() {
        if depth > DEPTH_MAX {
            return invalid("directories lie too deep below each other".to_owned());
        }
        for name in names(path)? {
            collect(&path.join(&name), &format!("{below}/{name}"), files, depth + 1)?;
        }
        return Ok(());
    }
    if !about.is_file() {
        return invalid("it is neither a file nor a directory: take it away".to_owned());
    }
    if about.len() > FILE_BYTES_MAX {
        return invalid(format!("it is larger than {} KiB", FILE_BYTES_MAX >> 10));
    }
    if files.len() == FILES_MAX {
        return invalid(format!("there are more than {FILES_MAX} files"));
    }
    let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
    match String::from_utf8(text) {
        Ok(text) => files.insert(below.to_owned(), text),
        Err(_) => return invalid("it is no text in UTF-8".to_owned()),
    };
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Failure::new(kind, format!("cannot read {}: {error}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let site = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = site.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        site
    }

    #[test]
    fn what_is_not_there_adds_nothing() {
        assert!(read(Path::new("/nonexistent")).unwrap().is_empty());
        let other = site(&[("serve.env", b"X=1"), ("ssl/key", b"\xff")]);
        assert!(read(other.path()).unwrap().is_empty(), "what is not ours is left alone");
    }

    #[test]
    fn files_are_read_by_path_and_what_editors_leave_is_not() {
        let site = site(&[
            ("containers/a/files/b", b"text"),
            ("config.d/nova-api/x.conf", b"[DEFAULT]\n"),
            ("config.d/nova-api/x.conf~", b"\xff"),
            ("config.d/nova-api/.x.conf.swp", b"\xff"),
            ("services/README.md", b"words"),
        ]);
        symlink("x.conf", site.path().join("config.d/nova-api/y.conf")).unwrap();
        let overlay = read(site.path()).unwrap();
        let settings: Vec<_> = overlay.below("config.d").collect();
        let both = ["nova-api/x.conf", "nova-api/y.conf"];
        assert_eq!(settings, both.map(|path| (path, "[DEFAULT]\n")));
        assert_eq!(overlay.below("containers").collect::<Vec<_>>(), [("a/files/b", "text")]);
        assert_eq!(overlay.below("services").count(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let large = vec![b'x'; 300 << 10];
        for (path, text, part) in [
            ("services/a.toml", &b"\xff"[..], "services/a.toml: it is no text"),
            ("services/b.toml", &large, "b.toml: it is larger than 256 KiB"),
            ("service/a.toml", b"", "nothing is read from there; did you mean `services`?"),
            ("roles/a.yaml", b"", "roles/a.yaml: nothing is read from there: write roles/NAME"),
            ("containers/1/2/3/4/5/6/7", b"", "too deep"),
        ] {
            let error = read(site(&[(path, text)]).path()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let dangling = site(&[]);
        fs::create_dir(dangling.path().join("roles")).unwrap();
        symlink("nothing", dangling.path().join("roles/a.toml")).unwrap();
        let error = read(dangling.path()).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("roles/a.toml"), "{error}");
    }
}
