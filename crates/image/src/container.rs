//! Builds the container images of `containers/`, one for each directory, with Podman, as root.
//!
//! ```text
//! archive's state ─► Debian (base.tar, package lists) ─► base ─► its children, two at a time ─► …
//!                                                          │ Podman's storage, in the cache
//!                          layers: checked, searched for credentials, packed, each once
//!                                                          ▼
//!                                     blobs and records in the cache ─► the state's blobs
//! ```
//! An image is built again when a file of its directory, one of its parents or the archive's packages
//! have changed, and not otherwise. A state without blobs gets them from the cache. A build that dies
//! leaves nothing that looks whole, and the next one goes on from the last whole image.

mod debian;
mod pack;
mod podman;
mod recipe;
mod secrets;
mod store;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::{Digest, Secret, UnixMillis};

pub use recipe::{ContainerfileError, SiteFiles, shipped_files};

use self::{
    debian::Apt,
    pack::{Packer, Record},
    podman::{Storage, tag_of},
    recipe::{BASE, Recipe},
    secrets::Secrets,
};
use crate::{
    blob::{BlobError, Blobs},
    build::{
        BuildError,
        archive::{self, Archive},
        cache::{self, Cache},
        child::Log,
        error::at,
    },
    catalog::Image,
    oci::{ContainerImage, Piece},
};

/// Images that are built at the same time: each uses a processor and the disk in turns.
const WORKERS: usize = 2;
/// Free space that a build takes in the cache, at its peak: storage, unpacked layers, blobs.
const BUILD_BYTES: u64 = 6 << 30;
/// What the images take in the blob store.
const BLOBS_BYTES: u64 = 1 << 30;
const RECORD: &str = "record.json";

/// What to build with.
pub struct BuildRequest<'a> {
    /// Where builds are kept; only root can read it.
    pub cache_dir: &'a Utf8Path,
    /// Where the images go.
    pub blobs: &'a Blobs,
    /// A site's own images.
    pub site: &'a SiteFiles<'a>,
    /// The images that are needed; without, all that there are.
    pub wanted: Option<&'a BTreeSet<String>>,
    /// What must be in no image, beside the host's own APT and proxy credentials.
    pub secrets: &'a [Secret],
    /// Takes the log, line by line.
    pub log: &'a mut (dyn Write + Send),
    /// Is told what begins; may be called from several threads.
    pub on_step: &'a (dyn Fn(Step<'_>) + Sync),
    /// The time, for the records.
    pub now: UnixMillis,
}

impl fmt::Debug for BuildRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildRequest").field("cache_dir", &self.cache_dir).finish_non_exhaustive()
    }
}

/// A step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Asking the package archive for its state.
    Archive,
    /// Installing Debian itself.
    Debian,
    /// Building an image.
    Image(&'a str),
    /// Taking an image's layers into the cache.
    Packing(&'a str),
    /// Putting all images into one storage for machines to mount.
    Store,
    /// Giving the images to the state.
    Blobs,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive => f.write_str("asking the package archive for its state"),
            Self::Debian => f.write_str("installing Debian for the container images"),
            Self::Image(name) => write!(f, "building container image {name}"),
            Self::Packing(name) => write!(f, "packing container image {name}"),
            Self::Store => f.write_str("packing all container images as one storage"),
            Self::Blobs => f.write_str("taking the container images from the cache"),
        }
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// All images, by name.
    pub images: Vec<ContainerImage>,
    /// Podman's storage with all of them, for machines to mount.
    pub store: Image,
    /// How many of them were built now; the others were there.
    pub built: usize,
}

/// Builds the images that are wanted, or finds that they are there.
pub fn build_all(request: BuildRequest<'_>) -> Result<Built, BuildError> {
    let BuildRequest { cache_dir, blobs, site, wanted, secrets, log, on_step, now } = request;
    let log = Log::new(log);
    let dir = cache_dir.join("containers");
    // Overlay's options are separated by colons and commas.
    cache::want_path(&dir, &[':', ',', '"'], "podman")?;
    let cache = Cache::lock(&dir)?;
    let kept = Blobs::open(dir.join("blobs")).map_err(BuildError::Blob)?;
    on_step(Step::Archive);
    let archive = archive::look(&cache.tmp(), &log)?;
    let recipes = recipe::read(site, &archive.state)?;
    let recipes = recipe::needed_for(recipes, wanted);
    let there = recipes.iter().filter_map(|recipe| recorded(&cache, &kept, recipe));
    let mut records: Vec<Record> = there.collect();
    let mut built = 0;
    let recorded_store = store::recorded(&cache, &kept, &recipes);
    if forget_damaged(&records, recorded_store.as_ref(), &kept, blobs)? {
        log.line("build", "what was damaged is made again");
        records = recipes.iter().filter_map(|recipe| recorded(&cache, &kept, recipe)).collect();
    }
    let mut packed = store::recorded(&cache, &kept, &recipes);
    if records.len() < recipes.len() || packed.is_none() {
        cache.want_free(BUILD_BYTES)?;
        let build = Build {
            cache: &cache,
            kept: &kept,
            recipes: &recipes,
            archive: &archive,
            log: &log,
            on_step,
            now,
        };
        let ended = build.run(&records, secrets);
        // Unpacked layers, and copies of the host's credentials.
        cache.empty_tmp()?;
        built = ended?;
        records = recipes
            .iter()
            .map(|recipe| recorded(&cache, &kept, recipe))
            .collect::<Option<_>>()
            .ok_or(BuildError::Content("an image is not in the cache after it was built"))?;
        packed = store::recorded(&cache, &kept, &recipes);
        build.forget_older(&records, packed.as_ref())?;
    } else {
        log.line("build", "nothing has changed since the container images were built");
    }
    let mut images: Vec<ContainerImage> = records.into_iter().map(|r| r.image).collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let store = packed.ok_or(BuildError::Content("the storage of all images is not there"))?;
    deliver(&images, &store, &kept, blobs, on_step)?;
    Ok(Built { images, store, built })
}

/// What an earlier build from the same inputs made, if all of it is still there.
fn recorded(cache: &Cache, kept: &Blobs, recipe: &Recipe<'_>) -> Option<Record> {
    let text = fs::read(cache.entry(recipe.name, &recipe.key).join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let there = record
        .image
        .pieces()
        .all(|piece| matches!(kept.stat(&piece.digest), Ok(Some(size)) if size == piece.size));
    there.then_some(record)
}

/// Removes blobs that are not what their names say, in the state and in the cache, so that they are
/// made again: that is what the failure of whoever read them told to do. What is well in the state is
/// not looked for in the cache. Says whether anything was removed from the cache.
fn forget_damaged(
    records: &[Record],
    store: Option<&Image>,
    kept: &Blobs,
    blobs: &Blobs,
) -> Result<bool, BuildError> {
    let pieces = records.iter().flat_map(|record| record.image.pieces()).map(|piece| piece.digest);
    let all: BTreeSet<Digest> = pieces.chain(store.map(|store| store.digest)).collect();
    let is_well = |place: &Blobs, digest: &Digest| match place.verify(digest) {
        Ok(_) => Ok(true),
        Err(BlobError::Missing(_) | BlobError::Mismatch { .. }) => Ok(false),
        Err(error) => Err(BuildError::Blob(error)),
    };
    let mut forgot = false;
    for digest in all {
        if is_well(blobs, &digest)? {
            continue;
        }
        blobs.delete(&digest).map_err(BuildError::Blob)?;
        if !is_well(kept, &digest)? {
            forgot |= kept.delete(&digest).map_err(BuildError::Blob)?;
        }
    }
    Ok(forgot)
}

/// Puts what `blobs` lacks there.
fn deliver(
    images: &[ContainerImage],
    store: &Image,
    kept: &Blobs,
    blobs: &Blobs,
    on_step: &(dyn Fn(Step<'_>) + Sync),
) -> Result<(), BuildError> {
    let mut missing = BTreeSet::new();
    let store = Piece { digest: store.digest, size: store.size };
    for piece in images.iter().flat_map(ContainerImage::pieces).chain([store]) {
        if blobs.stat(&piece.digest).map_err(BuildError::Blob)? != Some(piece.size) {
            missing.insert(piece.digest);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    cache::want_free(blobs.root(), BLOBS_BYTES)?;
    on_step(Step::Blobs);
    for digest in &missing {
        blobs.adopt(kept, digest).map_err(BuildError::Blob)?;
    }
    Ok(())
}

/// What a build works on.
struct Build<'a, 'l> {
    cache: &'a Cache,
    kept: &'a Blobs,
    recipes: &'a [Recipe<'a>],
    archive: &'a Archive,
    log: &'a Log<'l>,
    on_step: &'a (dyn Fn(Step<'_>) + Sync),
    now: UnixMillis,
}

impl Build<'_, '_> {
    /// Builds what is not in `records`; says how many that were.
    fn run(&self, records: &[Record], secrets: &[Secret]) -> Result<usize, BuildError> {
        let Self { cache, recipes, archive, log, .. } = self;
        let tmp = cache.tmp();
        let dir = tmp.parent().unwrap_or(&tmp);
        let debian = self.debian()?;
        let apt = Apt::lay_out(&tmp.join("apt"), archive, debian.join("lists"))?;
        let secrets = Secrets::of_host(&archive.settings, &archive.sources, &apt.auth(), secrets)?;
        let storage = Storage::open(dir, &tmp, log)?;
        let tags = storage.tags(log)?;
        let is_stored = |recipe: &Recipe<'_>| tags.contains(&tag_of(recipe));
        let is_recorded = |recipe: &Recipe<'_>| {
            records.iter().any(|r| r.image.name == recipe.name)
                // The storage of all images is made of what Podman has.
                && is_stored(recipe)
        };
        let wanted = plan(recipes, is_recorded, is_stored);
        for recipe in recipes.iter().filter(|recipe| is_stored(recipe)) {
            storage.choose(recipe, log)?;
        }
        let packer = Packer::new(self.kept, &secrets, records.iter());
        let layout = Mutex::new(tmp.join("layout"));
        let work = Work { build: self, storage, tags, debian, apt, packer, layout };
        work.run(&wanted)?;
        work.storage.keep_only(recipes, log)?;
        if store::recorded(cache, self.kept, recipes).is_none() {
            (self.on_step)(Step::Store);
            store::pack(cache, self.kept, recipes, &work.storage, self.now, log)?;
        }
        Ok(wanted.len())
    }

    /// Debian as it goes into the lowest image, and its package lists.
    fn debian(&self) -> Result<Utf8PathBuf, BuildError> {
        let base = self.recipes.iter().find(|recipe| recipe.name == BASE);
        let base = base.ok_or(BuildError::Content("containers/ has no directory `base`"))?;
        self.cache.entry_or("debian", &base.key, |new| {
            (self.on_step)(Step::Debian);
            debian::install(new, base, self.archive, &self.cache.tmp(), self.log)
        })
    }

    /// Lets go of what other inputs left.
    fn forget_older(&self, records: &[Record], store: Option<&Image>) -> Result<(), BuildError> {
        for recipe in self.recipes {
            self.cache.keep_only(recipe.name, &recipe.key)?;
            if recipe.name == BASE {
                self.cache.keep_only("debian", &recipe.key)?;
            }
        }
        let pieces = records.iter().flat_map(|r| r.image.pieces());
        let used = pieces.map(|piece| piece.digest).chain(store.map(|store| store.digest));
        let used: BTreeSet<_> = used.collect();
        for digest in self.kept.list().map_err(BuildError::Blob)? {
            if !used.contains(&digest) {
                self.kept.delete(&digest).map_err(BuildError::Blob)?;
            }
        }
        Ok(())
    }
}

/// The images to make: those without a record, what they are built from where Podman has it no
/// more, and what is built from those, since images share the layers of one and the same parent.
fn plan<'r, 'a>(
    recipes: &'r [Recipe<'a>],
    is_recorded: impl Fn(&Recipe<'_>) -> bool,
    is_stored: impl Fn(&Recipe<'_>) -> bool,
) -> Vec<&'r Recipe<'a>> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = wanted.len();
        for recipe in recipes {
            let is_parent_made = recipe.parents.iter().any(|parent| wanted.contains(parent));
            let is_needed = recipes
                .iter()
                .any(|child| wanted.contains(child.name) && child.parents.contains(&recipe.name));
            if !is_recorded(recipe) || is_parent_made || is_needed && !is_stored(recipe) {
                wanted.insert(recipe.name);
            }
        }
        if wanted.len() == before {
            return recipes.iter().filter(|recipe| wanted.contains(recipe.name)).collect();
        }
    }
}

/// A build that is under way.
struct Work<'a, 'l> {
    build: &'a Build<'a, 'l>,
    storage: Storage,
    /// What the storage held at the beginning.
    tags: BTreeSet<String>,
    debian: Utf8PathBuf,
    apt: Apt,
    packer: Packer<'a>,
    /// Where Podman writes unpacked layers, one image at a time.
    layout: Mutex<Utf8PathBuf>,
}

struct Queue<'a> {
    left: Vec<&'a Recipe<'a>>,
    under_way: BTreeSet<&'a str>,
    failure: Option<BuildError>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work<'_, '_> {
    /// Makes the images, each after its parents. After a failure nothing new begins.
    fn run(&self, wanted: &[&Recipe<'_>]) -> Result<(), BuildError> {
        let (left, under_way) = (wanted.to_vec(), BTreeSet::new());
        let queue = Mutex::new(Queue { left, under_way, failure: None });
        let changed = Condvar::new();
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| self.work(&queue, &changed));
            }
        });
        match queue.into_inner().unwrap_or_else(PoisonError::into_inner).failure {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    fn work(&self, queue: &Mutex<Queue<'_>>, changed: &Condvar) {
        while let Some(recipe) = next(queue, changed) {
            // A panic must not leave the other worker waiting.
            let made = catch_unwind(AssertUnwindSafe(|| self.image(recipe)));
            let made = made.unwrap_or(Err(BuildError::Content("a step panicked")));
            let mut queue = locked(queue);
            queue.under_way.remove(recipe.name);
            if let Err(failure) = made {
                queue.failure.get_or_insert(failure);
            }
            changed.notify_all();
        }
    }

    fn image(&self, recipe: &Recipe<'_>) -> Result<(), BuildError> {
        let Build { cache, log, on_step, now, .. } = *self.build;
        if !self.tags.contains(&tag_of(recipe)) {
            on_step(Step::Image(recipe.name));
            self.make(recipe)?;
        }
        let layout = locked(&self.layout);
        on_step(Step::Packing(recipe.name));
        let config = self.storage.save(recipe, &layout, log)?;
        let record = self.packer.pack(recipe, &config, &layout, now)?;
        drop(layout);
        // One of an older image from the same inputs, whose parent Podman had lost.
        cache::remove_tree(&cache.entry(recipe.name, &recipe.key))?;
        cache.entry_or(recipe.name, &recipe.key, |new| {
            let path = new.join(RECORD);
            let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
            text.and_then(|text| fs::write(&path, text)).map_err(at("write", &path))
        })?;
        Ok(())
    }

    fn make(&self, recipe: &Recipe<'_>) -> Result<(), BuildError> {
        let context = self.build.cache.tmp().join(format!("context-{}", recipe.name));
        fs::create_dir(&context).map_err(at("make the directory", &context))?;
        recipe.write(&context)?;
        if recipe.name == BASE {
            let (from, to) = (self.debian.join(debian::TAR), context.join(debian::TAR));
            fs::hard_link(&from, &to).map_err(at("link", &from))?;
        }
        self.storage.build(recipe, &context, &self.apt.mounts(), self.build.log)?;
        cache::remove_tree(&context)
    }
}

/// The next image whose parents are made, once there is one; nothing when all are under way.
fn next<'a>(queue: &Mutex<Queue<'a>>, changed: &Condvar) -> Option<&'a Recipe<'a>> {
    let mut queue = locked(queue);
    loop {
        if queue.failure.is_some() || queue.left.is_empty() {
            return None;
        }
        let waits = |recipe: &&Recipe<'_>| {
            recipe.parents.iter().any(|parent| {
                queue.under_way.contains(parent) || queue.left.iter().any(|r| r.name == *parent)
            })
        };
        if let Some(place) = queue.left.iter().position(|recipe| !waits(recipe)) {
            let recipe = queue.left.remove(place);
            queue.under_way.insert(recipe.name);
            return Some(recipe);
        }
        queue = changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests;
