//! Podman's storage with every image, as a squashfs that machines mount: an emulated machine would
//! need minutes to unpack the layers, and mounts this in no time (containers-storage.conf(5),
//! `additionalimagestores`). Images have the same ids there as those that are pulled.

use std::{fs, io, time::Duration};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use undercloud_model::{Digest, UnixMillis};

use super::{podman::Storage, recipe::Recipe};
use crate::{
    blob::Blobs,
    build::{
        BuildError,
        cache::{self, Cache},
        child::{Log, Run},
        error::at,
    },
    catalog::{Content, Encoding, Image, ImageKind, names},
    digest_of,
};

const NAME: &str = "store";
const RECORD: &str = "record.json";
const DEADLINE: Duration = Duration::from_secs(900);
/// Packs as fast as two processors read, and unpacks fast on an emulated one.
const LEVEL: &str = "3";
/// Of Podman's storage; each machine has its own.
const LEFT_OUT: [&str; 4] = ["libpod", "mounts", "tmp", "defaultNetworkBackend"];

#[derive(Serialize, Deserialize)]
struct Record {
    image: Image,
}

/// The digest of everything that the storage is made of.
fn key(recipes: &[Recipe<'_>]) -> Digest {
    let text: String =
        recipes.iter().map(|recipe| format!("{} {}\n", recipe.name, recipe.key)).collect();
    digest_of(format!("squashfs zstd {LEVEL}\n{text}").as_bytes())
}

/// What an earlier build made of the same images, if its blob is still there.
pub(super) fn recorded(cache: &Cache, kept: &Blobs, recipes: &[Recipe<'_>]) -> Option<Image> {
    let text = fs::read(cache.entry(NAME, &key(recipes)).join(RECORD)).ok()?;
    let Record { image } = serde_json::from_slice(&text).ok()?;
    let there = matches!(kept.stat(&image.digest), Ok(Some(size)) if size == image.size);
    there.then_some(image)
}

/// Packs the storage, which holds these recipes' images and no others.
pub(super) fn pack(
    cache: &Cache,
    kept: &Blobs,
    recipes: &[Recipe<'_>],
    storage: &Storage,
    now: UnixMillis,
    log: &Log<'_>,
) -> Result<(), BuildError> {
    let key = key(recipes);
    let target = cache.tmp().join("store.squashfs");
    squash(storage.directory(), &target, log)?;
    let file = fs::File::open(&target).map_err(at("read", &target))?;
    let stored = kept.put(file).map_err(BuildError::Blob)?;
    fs::remove_file(&target).map_err(at("remove", &target))?;
    let image = Image {
        name: names::CONTAINER_STORE.to_owned(),
        kind: ImageKind::ContainerStore,
        digest: stored.digest,
        size: stored.size,
        encoding: Encoding::Plain,
        content: Content { digest: stored.digest, size: stored.size },
        os: None,
        min_disk_bytes: 0,
        has_agent: false,
        built_at: now,
        inputs: key,
    };
    cache::remove_tree(&cache.entry(NAME, &key))?;
    cache.entry_or(NAME, &key, |new| {
        let path = new.join(RECORD);
        let text = serde_json::to_vec_pretty(&Record { image }).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).map_err(at("write", &path))
    })?;
    cache.keep_only(NAME, &key)
}

fn squash(directory: &Utf8Path, target: &Utf8Path, log: &Log<'_>) -> Result<(), BuildError> {
    // Owners, modes, extended attributes and times stay: byte code is checked against times.
    Run::host("mksquashfs")
        .deadline(DEADLINE)
        .quiet()
        .args([directory.as_str(), target.as_str(), "-noappend", "-no-progress"])
        .args(["-comp", "zstd", "-Xcompression-level", LEVEL, "-e"])
        .args(LEFT_OUT)
        .run(log)
}
