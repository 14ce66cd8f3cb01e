//! Podman with a storage of its own: nothing of the host's containers, settings or registries is
//! looked at, and no mount and no process of it outlives us.
//!
//! An image in the storage has two tags: `latest`, which `FROM` finds, and one made of its key, which
//! tells whether it is the one that is wanted. Podman commits an image whole or not at all; what a
//! killed Podman leaves are mounts and working containers, and those go before the next begins.

use std::{collections::BTreeSet, fs, io, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};

use super::recipe::{PREFIX, Recipe};
use crate::{
    build::{
        BuildError,
        child::{Log, Run},
        error::at,
        mounts::unmount_below,
    },
    digest_of,
};

/// An image took two and a half minutes on a busy machine.
const BUILD_DEADLINE: Duration = Duration::from_secs(1800);
const SAVE_DEADLINE: Duration = Duration::from_secs(600);

/// A storage that nobody else uses: the caller holds the cache's lock.
#[derive(Debug)]
pub(super) struct Storage {
    graph: Utf8PathBuf,
    /// Below `/run`, so that it ends with the host's uptime, as mounts do.
    run: Utf8PathBuf,
    tmp: Utf8PathBuf,
}

impl Storage {
    /// Opens the storage in `dir`, makes it if need be, and clears what a dead Podman left. `tmp`
    /// is emptied by the caller.
    pub(super) fn open(dir: &Utf8Path, tmp: &Utf8Path, log: &Log<'_>) -> Result<Self, BuildError> {
        let tag = digest_of(dir.as_str().as_bytes()).short();
        let run = Utf8PathBuf::from(format!("/run/undercloud-containers-{tag}"));
        let storage = Self { graph: dir.join("storage"), run, tmp: tmp.to_owned() };
        // Podman's own database names absolute paths and holds nothing that we need.
        for old in [&storage.run, &storage.graph.join("libpod")] {
            remove(old)?;
        }
        fs::create_dir_all(&storage.run).map_err(at("make the directory", &storage.run))?;
        let write = |name: &str, text: &str| {
            let path = storage.tmp.join(name);
            fs::write(&path, text).map_err(at("write", &path))
        };
        let (graph, run) = (quoted(&storage.graph), quoted(&storage.run.join("storage")));
        let text =
            format!("[storage]\ndriver = \"overlay\"\ngraphroot = {graph}\nrunroot = {run}\n");
        write("storage.conf", &text)?;
        write("containers.conf", "")?;
        storage.remove_working_containers(log)?;
        Ok(storage)
    }

    fn podman(&self) -> Run {
        let run = |name: &str| self.run.join(name).into_string();
        Run::alone("podman")
            .env("CONTAINERS_CONF", self.tmp.join("containers.conf").as_str())
            .env("CONTAINERS_STORAGE_CONF", self.tmp.join("storage.conf").as_str())
            .env("TMPDIR", self.tmp.as_str())
            .env("HOME", "/root")
            .args(["--tmpdir", &run("libpod"), "--network-config-dir", &run("networks")])
            .args(["--events-backend", "none", "--cgroup-manager", "cgroupfs"])
    }

    fn remove_working_containers(&self, log: &Log<'_>) -> Result<(), BuildError> {
        let all = ["ps", "--all", "--external", "--quiet"];
        let ids = self.podman().args(all).output(log)?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.podman().args(["rm", "--force"]).args(ids).run(log)
    }

    /// The tags of all images, as `localhost/NAME:TAG`.
    pub(super) fn tags(&self, log: &Log<'_>) -> Result<BTreeSet<String>, BuildError> {
        let list = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let tags = self.podman().args(list).output(log)?;
        Ok(tags.lines().map(str::to_owned).collect())
    }

    /// Makes the image of this recipe the one that `FROM` finds.
    pub(super) fn choose(&self, recipe: &Recipe<'_>, log: &Log<'_>) -> Result<(), BuildError> {
        self.podman().args(["tag", &tag_of(recipe), &latest_of(recipe)]).run(log)
    }

    /// Builds an image from the directory `context`. `mounts` are given to each `RUN`, to be read.
    pub(super) fn build(
        &self,
        recipe: &Recipe<'_>,
        context: &Utf8Path,
        mounts: &[(Utf8PathBuf, &str)],
        log: &Log<'_>,
    ) -> Result<(), BuildError> {
        // One layer for each image, and file times as they are: byte code is checked against them.
        self.podman()
            .deadline(BUILD_DEADLINE)
            .args(["build", "--isolation", "chroot", "--network", "host"])
            .args(["--pull=never", "--layers=false", "--format", "oci"])
            .args(["--tag", &latest_of(recipe), "--tag", &tag_of(recipe)])
            .args(mounts.iter().map(|(from, to)| format!("--volume={from}:{to}:ro")))
            .arg(context)
            .run(log)
    }

    /// Writes an image to an OCI layout, which may hold others; layers are not packed, and those
    /// that are there are not written again. Returns the config.
    pub(super) fn save(
        &self,
        recipe: &Recipe<'_>,
        layout: &Utf8Path,
        log: &Log<'_>,
    ) -> Result<Vec<u8>, BuildError> {
        let save = ["save", "--quiet", "--uncompressed", "--format", "oci-dir", "--output"];
        let tag = tag_of(recipe);
        self.podman().deadline(SAVE_DEADLINE).args(save).args([layout.as_str(), &tag]).run(log)?;
        let show = ["image", "inspect", "--format", "{{.Id}}", &tag];
        let id = self.podman().args(show).output(log)?;
        // An image's id is its config's digest.
        let id = id.trim().parse();
        let id = id.map_err(|_| BuildError::Content("podman's image id is no digest"))?;
        let path = blob(layout, &id);
        fs::read(&path).map_err(at("read", &path))
    }

    /// The directory, for what reads it while no Podman runs.
    pub(super) fn directory(&self) -> &Utf8Path {
        &self.graph
    }

    /// Removes every image that is not of `recipes`.
    pub(super) fn keep_only(
        &self,
        recipes: &[Recipe<'_>],
        log: &Log<'_>,
    ) -> Result<(), BuildError> {
        let keep = |tag: &String| recipes.iter().any(|r| *tag == tag_of(r) || *tag == latest_of(r));
        let old: Vec<String> = self.tags(log)?.into_iter().filter(|tag| !keep(tag)).collect();
        let tagged = old.iter().filter(|tag| !tag.contains("<none>"));
        let tagged: Vec<&String> = tagged.collect();
        if !tagged.is_empty() {
            self.podman().args(["rmi", "--force"]).args(tagged).run(log)?;
        }
        self.podman().args(["image", "prune", "--force"]).run(log)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // What cannot be cleared here is cleared when it is opened next.
        if unmount_below(&self.graph).is_ok() {
            let _ = remove(&self.run);
        }
    }
}

/// The tag that only this recipe's image has.
pub(super) fn tag_of(recipe: &Recipe<'_>) -> String {
    format!("{PREFIX}{}:{}", recipe.name, &recipe.key.hex()[..24])
}

fn latest_of(recipe: &Recipe<'_>) -> String {
    format!("{PREFIX}{}:latest", recipe.name)
}

/// A blob of an OCI layout (image specification, "Image Layout").
pub(super) fn blob(layout: &Utf8Path, digest: &undercloud_model::Digest) -> Utf8PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// A TOML string.
fn quoted(path: &Utf8Path) -> String {
    toml::Value::String(path.to_string()).to_string()
}

fn remove(path: &Utf8Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_settings() {
        assert_eq!(quoted(Utf8Path::new("/a\"b")), "'/a\"b'");
        let read: toml::Table =
            format!("x = {}", quoted(Utf8Path::new("/a 'b\" c"))).parse().unwrap();
        assert_eq!(read["x"].as_str(), Some("/a 'b\" c"));
    }
}
