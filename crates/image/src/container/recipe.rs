//! What container images are made of: the directories of `containers/`, embedded, so that the one
//! binary needs no tree beside it; and the order in which they can be built.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
};

use camino::Utf8Path;
use undercloud_model::Digest;

use crate::{
    build::{BuildError, error::at},
    digest_of,
};

/// Changes when this program makes another thing of the same files.
const RECIPE_VERSION: u32 = 1;

/// The image that holds Debian itself; its directory says how it is made (`containers/README.md`).
pub(super) const BASE: &str = "base";
/// What `FROM` says before the name of another image of ours.
pub(super) const PREFIX: &str = "localhost/";
const CONTAINERFILE: &str = "Containerfile";

/// Texts by path below an image's directory.
type Files<'a> = BTreeMap<&'a str, &'a str>;
type Shipped = &'static [(&'static str, &'static str)];

macro_rules! directories {
    ($($directory:literal: [$($name:literal),* $(,)?]),* $(,)?) => {
        &[$((
            $directory,
            &[$((
                $name,
                include_str!(concat!("../../../../containers/", $directory, "/", $name)),
            )),*],
        )),*]
    };
}

const DIRECTORIES: &[(&str, Shipped)] = directories! {
    "barbican": ["Containerfile"],
    "base": ["Containerfile", "dpkg.cfg", "install-packages", "packages", "users"],
    "bind": ["Containerfile"],
    "designate": ["Containerfile", "make-pool"],
    "glance": ["Containerfile"],
    "heat": ["Containerfile", "add-domain"],
    "haproxy": ["Containerfile"],
    "horizon": ["Containerfile", "languages.cfg", "sasl_memcached.py"],
    "keystone": ["Containerfile"],
    "libvirt": ["Containerfile", "start-nova-compute"],
    "mariadb": ["Containerfile", "make-schemas", "start-mariadb"],
    "memcached": ["Containerfile", "start-memcached"],
    "neutron": ["Containerfile"],
    "nova": ["Containerfile"],
    "openstack-python": [
        "Containerfile",
        "apply-patches",
        "patches/oslo-messaging-reply-wait.patch",
    ],
    "ovn": ["Containerfile", "start-openvswitch", "start-openvswitch-database", "start-ovn-database"],
    "placement": ["Containerfile"],
    "rabbitmq": ["Containerfile"],
};

/// A site's files for container images: path (`NAME/FILE`) and text.
pub type SiteFiles<'a> = [(&'a str, &'a str)];

/// A directory of the tree, or of a site, is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerfileError {
    /// It begins with an image that is not ours: nothing is fetched from registries.
    #[error("containers/{image}/Containerfile begins FROM `{from}`: no image of the tree")]
    From {
        /// Whose.
        image: String,
        /// What it names.
        from: String,
    },
    /// It has no `FROM`, or no Containerfile.
    #[error("containers/{0} has no Containerfile that begins with FROM")]
    Empty(String),
    /// A site's file has a place that no image can have.
    #[error(
        "containers/{0}: write containers/NAME/FILE, NAME of lower-case letters, digits and `-`"
    )]
    Path(String),
    /// Images wait for each other.
    #[error("the images {0} are built from each other")]
    Cycle(String),
}

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Recipe<'a> {
    pub(super) name: &'a str,
    files: Files<'a>,
    /// The images of ours that it begins with.
    pub(super) parents: Vec<&'a str>,
    /// Digest of everything that it is made of, the archive's state and its parents included.
    pub(super) key: Digest,
}

impl<'a> Recipe<'a> {
    /// The text of one of its files.
    pub(super) fn file(&self, name: &str) -> Option<&'a str> {
        self.files.get(name).copied()
    }

    /// Writes its files to `dir`, which is there. What begins with `#!` can be run.
    pub(super) fn write(&self, dir: &Utf8Path) -> Result<(), BuildError> {
        for (name, text) in &self.files {
            let path = dir.join(name);
            let parent = path.parent().unwrap_or(dir);
            fs::create_dir_all(parent).map_err(at("make the directory", parent))?;
            fs::write(&path, text).map_err(at("write", &path))?;
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(&path, permissions).map_err(at("set the mode of", &path))?;
        }
        Ok(())
    }
}

/// The files that ship, by path of the tree.
pub fn shipped_files() -> impl Iterator<Item = (String, &'static str)> {
    DIRECTORIES.iter().flat_map(|(directory, files)| {
        files.iter().map(move |(name, text)| (format!("containers/{directory}/{name}"), *text))
    })
}

/// All images, each after its parents; what holds up others, or takes long itself, comes first.
pub(super) fn read<'a>(
    site: &SiteFiles<'a>,
    archive: &Digest,
) -> Result<Vec<Recipe<'a>>, ContainerfileError> {
    let mut directories: BTreeMap<&'a str, Files<'a>> = BTreeMap::new();
    for (path, text) in site {
        let (name, file) = of_site(path)?;
        directories.entry(name).or_default().insert(file, text);
    }
    for (name, files) in DIRECTORIES {
        directories.entry(name).or_insert_with(|| files.iter().copied().collect());
    }
    order(&directories, archive)
}

/// Those of `wanted`, and what they begin with; all of them where nothing is said.
pub(super) fn needed_for<'a>(
    recipes: Vec<Recipe<'a>>,
    wanted: Option<&BTreeSet<String>>,
) -> Vec<Recipe<'a>> {
    let Some(wanted) = wanted else { return recipes };
    let mut needed: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    // Each comes after its parents, so from the end on every child is seen before them.
    for recipe in recipes.iter().rev() {
        if needed.contains(recipe.name) {
            needed.extend(&recipe.parents);
        }
    }
    let needed: BTreeSet<String> = needed.into_iter().map(str::to_owned).collect();
    recipes.into_iter().filter(|recipe| needed.contains(recipe.name)).collect()
}

/// Image and file of a site's path: names that can be images', files that stay below the directory.
fn of_site(path: &str) -> Result<(&str, &str), ContainerfileError> {
    let (name, file) = path.split_once('/').unwrap_or((path, ""));
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_name = !name.is_empty() && name.len() <= 63 && name.bytes().all(is_plain);
    let is_file = file.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_name && is_file && !name.starts_with('-') {
        Ok((name, file))
    } else {
        Err(ContainerfileError::Path(path.to_owned()))
    }
}

fn order<'a>(
    directories: &BTreeMap<&'a str, Files<'a>>,
    archive: &Digest,
) -> Result<Vec<Recipe<'a>>, ContainerfileError> {
    let names: BTreeSet<&'a str> = directories.keys().copied().collect();
    let mut stages = BTreeMap::new();
    for (name, files) in directories {
        let text = files.get(CONTAINERFILE).copied();
        let text = text.ok_or_else(|| ContainerfileError::Empty((*name).to_owned()))?;
        stages.insert(*name, parents(name, text, &names)?);
    }
    let weight = |name: &str| {
        let children = stages.values().filter(|parents| parents.contains(&name)).count();
        children + stages.get(name).map_or(0, Vec::len)
    };
    let mut waiting: Vec<(&'a str, &Files<'a>)> =
        directories.iter().map(|(name, files)| (*name, files)).collect();
    waiting.sort_by_key(|(name, _)| (std::cmp::Reverse(weight(name)), *name));
    let mut ordered: Vec<Recipe<'a>> = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(name, _)| {
            stages[name].iter().all(|parent| ordered.iter().any(|done| done.name == *parent))
        });
        let Some(ready) = ready else {
            let left: Vec<&str> = waiting.iter().map(|(name, _)| *name).collect();
            return Err(ContainerfileError::Cycle(left.join(", ")));
        };
        let (name, files) = waiting.remove(ready);
        let parents = stages[name].clone();
        let key = key(name, files, archive, ordered.iter().filter(|r| parents.contains(&r.name)));
        ordered.push(Recipe { name, files: files.clone(), parents, key });
    }
    Ok(ordered)
}

fn key<'r, 'a: 'r>(
    name: &str,
    files: &Files<'a>,
    archive: &Digest,
    parents: impl Iterator<Item = &'r Recipe<'a>>,
) -> Digest {
    let mut text = format!("container {RECIPE_VERSION} {name} {archive}");
    for parent in parents {
        text.push_str(&format!("\n{} {}", parent.name, parent.key));
    }
    for (name, content) in files {
        text.push_str(&format!("\n{name} {}:{content}", content.len()));
    }
    digest_of(text.as_bytes())
}

/// The images of ours that a Containerfile's stages begin with (Containerfile(5), `FROM`), one for
/// each stage. Earlier stages may be named; anything else would have to be fetched.
fn parents<'a>(
    image: &str,
    text: &str,
    names: &BTreeSet<&'a str>,
) -> Result<Vec<&'a str>, ContainerfileError> {
    let (mut parents, mut stages, mut found) = (Vec::new(), BTreeSet::new(), false);
    for instruction in instructions(text) {
        let mut words = instruction.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("FROM")) {
            continue;
        }
        found = true;
        let mut words = words.skip_while(|word| word.starts_with("--"));
        let from = words.next().unwrap_or_default();
        match from.strip_prefix(PREFIX).and_then(|name| names.get(name)) {
            Some(parent) => parents.push(*parent),
            None if from == "scratch" || stages.contains(from) => {}
            None => {
                let (image, from) = (image.to_owned(), from.to_owned());
                return Err(ContainerfileError::From { image, from });
            }
        }
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS")) {
            stages.extend(words.next().map(str::to_owned));
        }
    }
    if found { Ok(parents) } else { Err(ContainerfileError::Empty(image.to_owned())) }
}

/// The instructions, each on one line: comments are dropped, continued lines joined.
fn instructions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.trim_end().strip_suffix('\\') {
            Some(part) => open.push_str(part),
            None => {
                open.push_str(line);
                found.push(std::mem::take(&mut open));
            }
        }
    }
    found.push(open);
    found
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn tree() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../containers")
    }

    fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_file_of_the_tree_is_embedded_with_its_mode() {
        let mut paths = Vec::new();
        files_below(&tree(), &mut paths);
        paths.retain(|path| path.parent() != Some(&tree()));
        for path in &paths {
            let name = path.strip_prefix(tree()).unwrap().to_str().unwrap();
            let (directory, file) = name.split_once('/').unwrap();
            let files = DIRECTORIES.iter().find(|(name, _)| *name == directory);
            let text = files.and_then(|(_, files)| files.iter().find(|(name, _)| *name == file));
            let (_, text) = text.unwrap_or_else(|| panic!("{name} is missing in DIRECTORIES"));
            let can_run = fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0;
            assert_eq!(can_run, text.starts_with("#!"), "{name}");
        }
        assert_eq!(paths.len(), DIRECTORIES.iter().map(|(_, files)| files.len()).sum::<usize>());
    }

    #[test]
    fn the_tree_s_images_come_after_their_parents() {
        let recipes = read(&[], &digest_of(b"archive")).unwrap();
        let place = |name: &str| recipes.iter().position(|r| r.name == name).unwrap();
        assert_eq!(place(BASE), 0);
        for recipe in &recipes {
            assert!(recipe.parents.iter().all(|p| place(p) < place(recipe.name)));
        }
        assert!(place("openstack-python") < place("haproxy"), "six images wait for it");
        assert_eq!(recipes[place("mariadb")].parents, ["openstack-python", "base"]);
    }

    const BEFORE: &[(&str, &[(&str, &str)])] = &[
        ("a", &[("Containerfile", "FROM scratch")]),
        ("b", &[("Containerfile", "FROM localhost/a"), ("x", "1")]),
        ("c", &[("Containerfile", "FROM localhost/b")]),
        ("d", &[("Containerfile", "FROM localhost/a")]),
    ];

    fn directories(
        of: &[(&'static str, &'static [(&'static str, &'static str)])],
    ) -> BTreeMap<&'static str, Files<'static>> {
        of.iter().map(|(name, files)| (*name, files.iter().copied().collect())).collect()
    }

    #[test]
    fn a_change_reaches_the_children_and_nobody_else() {
        let before = directories(BEFORE);
        let mut after = before.clone();
        after.get_mut("b").unwrap().insert("x", "2");
        let archive = digest_of(b"1");
        let keys = |directories, archive| {
            let recipes = order(directories, archive).unwrap();
            recipes.into_iter().map(|r| (r.name, r.key)).collect::<BTreeMap<_, _>>()
        };
        let (before, after, later) =
            (keys(&before, &archive), keys(&after, &archive), keys(&before, &digest_of(b"2")));
        let same: Vec<_> = before.keys().filter(|n| before[*n] == after[*n]).collect();
        assert_eq!(same, [&"a", &"d"]);
        assert!(before.keys().all(|name| before[name] != later[name]));
    }

    #[test]
    fn what_cannot_be_built_is_said() {
        let one = |files: &'static [(&str, &str)]| {
            order(&directories(&[("a", files)]), &digest_of(b"x")).unwrap_err()
        };
        let foreign = &[("Containerfile", "# x\nfrom --platform=p docker.io/x AS y")];
        let from = "docker.io/x".to_owned();
        assert_eq!(one(foreign), ContainerfileError::From { image: "a".into(), from });
        assert_eq!(one(&[]), ContainerfileError::Empty("a".into()));
        let no_from = &[("Containerfile", "RUN \\\nFROM scratch")];
        assert_eq!(one(no_from), ContainerfileError::Empty("a".into()));
        let cycle = &[("Containerfile", "FROM localhost/a")];
        assert_eq!(one(cycle), ContainerfileError::Cycle("a".into()));
    }

    #[test]
    fn a_site_adds_an_image_and_takes_the_place_of_one() {
        let archive = digest_of(b"archive");
        let shipped = read(&[], &archive).unwrap();
        let site = [
            ("exporter/Containerfile", "FROM localhost/base\nCOPY a/b /\n"),
            ("exporter/a/b", "text"),
            ("haproxy/Containerfile", "FROM localhost/base\n"),
        ];
        let recipes = read(&site, &archive).unwrap();
        assert_eq!(recipes.len(), shipped.len() + 1);
        let key = |recipes: &[Recipe<'_>], name: &str| {
            recipes.iter().find(|r| r.name == name).map(|r| r.key)
        };
        assert_eq!(key(&recipes, "keystone"), key(&shipped, "keystone"));
        assert_ne!(key(&recipes, "haproxy"), key(&shipped, "haproxy"));
        let exporter = recipes.iter().find(|r| r.name == "exporter").unwrap();
        assert_eq!(
            (exporter.parents.as_slice(), exporter.file("a/b")),
            (&["base"][..], Some("text"))
        );
        for path in ["A/Containerfile", "a/../b", "a", "a//b", "-a/b", "/b", "a/./b"] {
            let wrong = ContainerfileError::Path(path.to_owned());
            assert_eq!(read(&[(path, "")], &archive).unwrap_err(), wrong);
        }
    }

    #[test]
    fn a_stage_may_be_named_and_comments_may_stand_within_an_instruction() {
        let names = BTreeSet::from(["a", "b"]);
        let text =
            "FROM localhost/a as one\nRUN x \\\n# FROM nothing\n y\nFROM one\nFROM localhost/b";
        assert_eq!(parents("c", text, &names).unwrap(), ["a", "b"]);
    }

    #[test]
    fn files_are_written_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let recipes = read(&[], &digest_of(b"archive")).unwrap();
        let python = recipes.iter().find(|r| r.name == "openstack-python").unwrap();
        python.write(path).unwrap();
        let mode = |name| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("apply-patches"), 0o755);
        assert_eq!(mode("patches/oslo-messaging-reply-wait.patch"), 0o644);
    }

    proptest! {
        #[test]
        fn any_containerfile_is_read(text: String) {
            let _ = parents("a", &text, &BTreeSet::from(["b"]));
        }
    }
}
