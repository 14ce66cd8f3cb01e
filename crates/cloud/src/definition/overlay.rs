//! What a site puts beside, or in the place of, the files that ship: the same directories below a
//! directory of its own (`/etc/undercloud`).
//!
//! | Path | What it does |
//! |---|---|
//! | `services/NAME.toml`, `services/DIR/FILE` | adds a service or a template, or takes the place of one |
//! | `services/secrets.toml` | adds secrets |
//! | `features/NAME.toml` | adds a feature, or takes the place of one |
//! | `roles/NAME.toml` | adds a role, or takes the place of one |
//! | `roles/NAME.d/FILE.toml` | adds services and settings to a role |
//! | `containers/NAME/FILE` | adds an image, or takes the place of one, with all files of its directory |
//! | `config.d/SERVICE/FILE.conf` | settings of a service, read after those that ship |
//! | `config.d/SERVICE/MACHINE/FILE.conf` | the same on one machine, read last |

use std::collections::{BTreeMap, BTreeSet};

use super::DefinitionError;
use crate::nearest::suggestion;

/// The directories that it may have.
pub const DIRECTORIES: [&str; 5] = ["config.d", "containers", "features", "roles", "services"];

/// A site's files: texts by path below its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    files: BTreeMap<String, String>,
}

/// What a file of a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing of that path ships.
    Adds,
    /// What ships by that path is not used.
    Replaces,
}

impl Effect {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adds => "adds",
            Self::Replaces => "replaces",
        }
    }
}

impl Overlay {
    /// Takes a site's files.
    ///
    /// # Errors
    /// A path is in none of [`DIRECTORIES`], or in a place of it that means nothing.
    pub fn new(files: BTreeMap<String, String>) -> Result<Self, DefinitionError> {
        files.keys().try_for_each(|path| placed(path))?;
        Ok(Self { files })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The text of one of its files.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Its files below a directory: path below that, and text.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = format!("{directory}/");
        self.files
            .iter()
            .filter_map(move |(path, text)| Some((path.strip_prefix(&prefix)?, text.as_str())))
    }

    /// The names of its container images.
    pub fn images(&self) -> BTreeSet<&str> {
        self.below("containers").filter_map(|(path, _)| Some(path.split_once('/')?.0)).collect()
    }

    /// What each of its files does beside `shipped`.
    pub fn effects(&self, shipped: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, Effect)> {
        self.files.keys().map(move |path| {
            // Secrets are added to those that ship, file or not.
            let replaces = path != "services/secrets.toml" && shipped(path);
            (path.as_str(), if replaces { Effect::Replaces } else { Effect::Adds })
        })
    }
}

/// A file that nobody would look at is a slip of its writer.
fn placed(path: &str) -> Result<(), DefinitionError> {
    let misplaced = |rule: String| DefinitionError::Misplaced { file: path.to_owned(), rule };
    let parts: Vec<&str> = path.split('/').collect();
    let is_toml = path.ends_with(".toml");
    match parts.as_slice() {
        ["services" | "roles" | "features", _] if is_toml => Ok(()),
        ["services", _, _, ..] | ["containers", _, _, ..] => Ok(()),
        ["roles", directory, _] if is_toml && directory.ends_with(".d") => Ok(()),
        ["config.d", _, file] | ["config.d", _, _, file] if file.ends_with(".conf") => Ok(()),
        ["services", _] => Err(misplaced("services/NAME.toml, or services/DIRECTORY/FILE".into())),
        ["features", ..] => Err(misplaced("features/NAME.toml".into())),
        ["roles", ..] => Err(misplaced("roles/NAME.toml, or roles/NAME.d/FILE.toml".into())),
        ["containers", ..] => Err(misplaced("containers/NAME/FILE".into())),
        ["config.d", ..] => Err(misplaced(
            "config.d/SERVICE/FILE.conf, or config.d/SERVICE/MACHINE/FILE.conf".into(),
        )),
        [directory, ..] => {
            let hint = suggestion(directory, DIRECTORIES.into_iter());
            Err(misplaced(format!("one of {}{hint}", DIRECTORIES.join(", "))))
        }
        [] => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(paths: &[&str]) -> Result<Overlay, DefinitionError> {
        Overlay::new(paths.iter().map(|path| ((*path).to_owned(), String::new())).collect())
    }

    #[test]
    fn what_nobody_would_read_is_refused() {
        for (path, part) in [
            (
                "service/x.toml",
                "one of config.d, containers, features, roles, services; did you mean",
            ),
            ("services/x.tml", "services/NAME.toml"),
            ("roles/x", "roles/NAME.toml"),
            ("features/x/y.toml", "features/NAME.toml"),
            ("roles/compute.d/x.yaml", "roles/NAME.d/FILE.toml"),
            ("containers/Containerfile", "containers/NAME/FILE"),
            ("config.d/x.conf", "config.d/SERVICE/FILE.conf"),
            ("config.d/nova-api/compute-0/deep/x.conf", "config.d/SERVICE/FILE.conf"),
            ("config.d/nova-api/x.ini", "config.d/SERVICE/FILE.conf"),
        ] {
            let error = of(&[path]).unwrap_err().to_string();
            assert!(error.starts_with(path) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_a_file_does_is_told() {
        let paths = ["services/keystone.toml", "services/secrets.toml", "services/x.toml"];
        let overlay = of(&paths).unwrap();
        let shipped = |path: &str| path != "services/x.toml";
        let effects: Vec<_> = overlay.effects(shipped).map(|(_, effect)| effect.as_str()).collect();
        assert_eq!(effects, ["replaces", "adds", "adds"]);
        assert!(of(&["containers/a/b/c"]).unwrap().images().contains("a"));
    }

    proptest! {
        #[test]
        fn any_path_is_judged(path in "[a-z./]{0,40}") {
            let _ = of(&[&path]);
        }
    }
}
