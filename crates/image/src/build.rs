//! Builds the images from Debian 13's packages, with child processes, as root, without loop mounts.
//!
//! ```text
//! host's APT sources ─► archive's state ──┬─► builder root ─────────────┐
//!                      (verified, a key)  └─► system (root.tar, kernel) ┴─► ramdisk segments
//!                                                                                │
//!                         our agent, our files ─────────────► disk, ramdisk, CD ──┴► blobs
//! ```
//! What is left of the last column depends on packages alone and is kept in the cache under the digest
//! of its inputs; a change of ours repeats only the last column, in seconds. A build that dies leaves
//! nothing that looks whole, and neither processes nor mounts ([`child`]). Everything that a child process says goes to the log.

pub(crate) mod archive;
pub(crate) mod cache;
pub(crate) mod child;
mod disk;
pub(crate) mod error;
mod grub;
mod iso;
mod modules;
pub(crate) mod mounts;
mod ramdisk;
mod recipe;
mod root;
pub mod sources;
mod test_image;

use std::{fmt, fs, fs::File, io, io::Write, thread};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::{Digest, UnixMillis};

pub use error::BuildError;
pub use recipe::RecipeError;

use self::{
    archive::Archive, cache::Cache, child::Log, disk::Disk, error::at, iso::Iso, recipe::Recipe,
    root::System,
};
use crate::{
    HashingReader,
    blob::{Blobs, Stored},
    catalog::{Content, Encoding, Image, ImageKind, OsInfo, names},
    digest_of, frames,
};

/// Free space that a build from nothing takes in the cache, at its peak.
const COLD_BYTES: u64 = 3 << 30;
/// The same when only our own part is new.
const WARM_BYTES: u64 = 1 << 30;
/// What the images take in the blob store.
const BLOBS_BYTES: u64 = 1 << 30;
/// How hard the disk image is packed.
const DISK_LEVEL: i32 = 3;
/// Behind the image on the disk: the table's copy and the config drive, with its alignment.
const DISK_EXTRA_BYTES: u64 = 16 << 20;

/// What to build with.
pub struct BuildRequest<'a> {
    /// Where builds are kept; only root can read it.
    pub cache_dir: &'a Utf8Path,
    /// Where the images go.
    pub blobs: &'a Blobs,
    /// The agent, a static program.
    pub agent: &'a Utf8Path,
    /// Takes the log, line by line.
    pub log: &'a mut (dyn Write + Send),
    /// Is told what begins; may be called from several threads.
    pub on_step: &'a (dyn Fn(Step) + Sync),
    /// The time, for the records.
    pub now: UnixMillis,
}

impl fmt::Debug for BuildRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildRequest")
            .field("cache_dir", &self.cache_dir)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// A step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asking the package archive for its state.
    Archive,
    /// Making the root directory with the tools.
    Builder,
    /// Installing the system's packages.
    System,
    /// Putting the ramdisks together.
    Ramdisk,
    /// Putting the deploy CD together.
    Iso,
    /// Putting the disk image together.
    Disk,
    /// Packing the disk image.
    Packing,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Archive => "asking the package archive for its state",
            Self::Builder => "installing the tools that build images",
            Self::System => "installing the packages of overcloud-full",
            Self::Ramdisk => "making the ramdisks",
            Self::Iso => "making the deploy CD",
            Self::Disk => "making the disk image",
            Self::Packing => "packing the disk image",
        })
    }
}

/// Takes away what a killed build left mounted in the cache, so that it can be removed.
///
/// # Errors
/// When something cannot be unmounted.
pub fn unmount(cache_dir: &Utf8Path) -> Result<(), BuildError> {
    mounts::unmount_below(cache_dir)
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The images, by name.
    pub images: Vec<Image>,
    /// They were there already: nothing of what they are made of has changed.
    pub unchanged: bool,
}

/// Builds all images, or finds that they are there.
pub fn build_all(request: BuildRequest<'_>) -> Result<Built, BuildError> {
    let BuildRequest { cache_dir, blobs, agent, log, on_step, now } = request;
    let log = Log::new(log);
    let recipe = Recipe::read()?;
    let agent = fs::read(agent).map_err(at("read", agent))?;
    if !is_static_elf(&agent) {
        return Err(BuildError::Content("the agent is not a static program for x86-64"));
    }
    cache::want_path(cache_dir, &['"'], "apt")?;
    let cache = Cache::lock(&cache_dir.join("images"))?;
    on_step(Step::Archive);
    let archive = archive::look(&cache.tmp(), &log)?;
    let keys = Keys::of(&recipe, &archive, &digest_of(&agent));
    if let Some(images) = recorded(&cache, &keys, blobs) {
        log.line("build", "nothing has changed since the images were built");
        return Ok(Built { images, unchanged: true });
    }
    let cold = !cache.entry("system", &keys.system).exists();
    cache.want_free(if cold { COLD_BYTES } else { WARM_BYTES })?;
    cache::want_free(blobs.root(), BLOBS_BYTES)?;
    let build = Build { cache, recipe, archive, keys, blobs, agent, log, on_step, now };
    let images = build.run()?;
    Ok(Built { images, unchanged: false })
}

/// Digests of inputs, each of what is built upon the one before.
#[derive(Debug)]
struct Keys {
    builder: Digest,
    system: Digest,
    ramdisks: Digest,
    images: Digest,
}

impl Keys {
    fn of(recipe: &Recipe, archive: &Archive, agent: &Digest) -> Self {
        let builder = recipe.builder_key(&archive.state);
        let system = recipe.system_key(&archive.state);
        let ramdisks = recipe.ramdisks_key(&system, &builder);
        let images = recipe.images_key(&ramdisks, agent);
        Self { builder, system, ramdisks, images }
    }
}

/// The images of an earlier build from the same inputs, if all their blobs are still there, and are
/// what they were: one that was damaged is built again, which is what its failure told to do.
fn recorded(cache: &Cache, keys: &Keys, blobs: &Blobs) -> Option<Vec<Image>> {
    let text = fs::read(cache.entry("images", &keys.images).join("images.json")).ok()?;
    let images: Vec<Image> = serde_json::from_slice(&text).ok()?;
    let there = |image: &Image| blobs.verify(&image.digest).is_ok();
    (!images.is_empty() && images.iter().all(there)).then_some(images)
}

struct Build<'a> {
    cache: Cache,
    recipe: Recipe,
    archive: Archive,
    keys: Keys,
    blobs: &'a Blobs,
    agent: Vec<u8>,
    log: Log<'a>,
    on_step: &'a (dyn Fn(Step) + Sync),
    now: UnixMillis,
}

impl Build<'_> {
    fn run(&self) -> Result<Vec<Image>, BuildError> {
        let (builder, system) = thread::scope(|scope| {
            let builder = scope.spawn(|| self.builder());
            let system = self.system();
            let builder = builder.join().unwrap_or(Err(BuildError::Content("a step panicked")));
            (builder, system)
        });
        let (builder, system) = (builder?, system?);
        (self.on_step)(Step::Ramdisk);
        let ramdisks = self.cache.entry_or("ramdisks", &self.keys.ramdisks, |new| {
            ramdisk::deploy(new, &self.recipe.deploy, &system, &builder)?;
            ramdisk::initrd(new, &self.recipe.overcloud, &system, &builder)?;
            test_image::ramdisk(new, &self.recipe.test_server, &system, &builder)
        })?;
        let initrd = ramdisks.join("initrd");
        let mut images = vec![self.overcloud_full(&builder, &system, &initrd)?];
        let ramdisk = ramdisk::with_agent(&ramdisks, &self.agent)?;
        let put = |path: &Utf8Path| -> Result<Stored, BuildError> {
            let file = File::open(path).map_err(at("open", path))?;
            self.blobs.put(file).map_err(BuildError::Blob)
        };
        let os = Some(os_info(&system));
        let kernel = put(&system.kernel)?;
        let initrd = put(&initrd)?;
        let test_ramdisk = put(&ramdisks.join(test_image::RAMDISK))?;
        let iso = self.deploy_iso(&builder, &system, &ramdisk)?;
        let ramdisk = self.blobs.put(&ramdisk[..]).map_err(BuildError::Blob)?;
        for (name, kind, stored, has_agent) in [
            (names::DEPLOY_KERNEL, ImageKind::Kernel, kernel, false),
            (names::DEPLOY_RAMDISK, ImageKind::Ramdisk, ramdisk, true),
            (names::DEPLOY_ISO, ImageKind::Iso, iso, true),
            (names::OVERCLOUD_FULL_VMLINUZ, ImageKind::Kernel, kernel, false),
            (names::OVERCLOUD_FULL_INITRD, ImageKind::Ramdisk, initrd, false),
            (names::TEST_KERNEL, ImageKind::Kernel, kernel, false),
            (names::TEST_RAMDISK, ImageKind::Ramdisk, test_ramdisk, false),
        ] {
            images.push(Image { has_agent, os: os.clone(), ..self.plain(name, kind, stored) });
        }
        for program in &self.recipe.builder.netboot {
            let stored = put(&builder.join("root").join(&program.path))?;
            images.push(self.plain(&program.name, ImageKind::NetbootProgram, stored));
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        self.record(&images)?;
        Ok(images)
    }

    fn builder(&self) -> Result<Utf8PathBuf, BuildError> {
        self.cache.entry_or("builder", &self.keys.builder, |new| {
            (self.on_step)(Step::Builder);
            root::builder(new, &self.recipe.builder, &self.archive, &self.cache.tmp(), &self.log)
        })
    }

    fn system(&self) -> Result<System, BuildError> {
        let entry = self.cache.entry_or("system", &self.keys.system, |new| {
            (self.on_step)(Step::System);
            root::system(new, &self.recipe.overcloud, &self.archive, &self.cache.tmp(), &self.log)
        })?;
        System::open(&entry)
    }

    fn overcloud_full(
        &self,
        builder: &Utf8Path,
        system: &System,
        initrd: &Utf8Path,
    ) -> Result<Image, BuildError> {
        (self.on_step)(Step::Disk);
        let initrd = fs::read(initrd).map_err(at("read", initrd))?;
        let root = builder.join("root");
        let disk = Disk {
            recipe: &self.recipe.overcloud,
            system,
            root: &root,
            agent: &self.agent,
            initrd: &initrd,
            inputs: &self.keys.images,
            date: self.archive.date,
        };
        let path = disk.build(&self.log)?;
        (self.on_step)(Step::Packing);
        let (stored, content) = pack(self.blobs, &path)?;
        disk::clear(&root.join("work"))?;
        Ok(Image {
            encoding: Encoding::Zstd,
            content,
            os: Some(os_info(system)),
            min_disk_bytes: content.size + DISK_EXTRA_BYTES,
            has_agent: true,
            ..self.plain(names::OVERCLOUD_FULL, ImageKind::Disk, stored)
        })
    }

    fn deploy_iso(
        &self,
        builder: &Utf8Path,
        system: &System,
        ramdisk: &[u8],
    ) -> Result<Stored, BuildError> {
        (self.on_step)(Step::Iso);
        let root = builder.join("root");
        let kernel = fs::read(&system.kernel).map_err(at("read", &system.kernel))?;
        let iso = Iso { root: &root, kernel: &kernel, ramdisk, date: self.archive.date };
        let cd = iso.build(&self.log)?;
        self.blobs.put(&cd[..]).map_err(BuildError::Blob)
    }

    fn plain(&self, name: &str, kind: ImageKind, stored: Stored) -> Image {
        let Stored { digest, size } = stored;
        Image {
            name: name.to_owned(),
            kind,
            digest,
            size,
            encoding: Encoding::Plain,
            content: Content { digest, size },
            os: None,
            min_disk_bytes: 0,
            has_agent: false,
            built_at: self.now,
            inputs: self.keys.images,
        }
    }

    /// Writes down what there is, and lets go of what older inputs left.
    fn record(&self, images: &[Image]) -> Result<(), BuildError> {
        let keys = &self.keys;
        let entry = self.cache.entry("images", &keys.images);
        disk::clear(&entry)?;
        self.cache.entry_or("images", &keys.images, |new| {
            let path = new.join("images.json");
            let text = serde_json::to_vec_pretty(images).map_err(io::Error::from);
            let written = text.and_then(|text| fs::write(&path, text));
            written.map_err(at("write", &path))
        })?;
        for (name, key) in [
            ("builder", &keys.builder),
            ("system", &keys.system),
            ("ramdisks", &keys.ramdisks),
            ("images", &keys.images),
        ] {
            self.cache.keep_only(name, key)?;
        }
        Ok(())
    }
}

fn os_info(system: &System) -> OsInfo {
    OsInfo {
        distribution: "debian".to_owned(),
        version: "13".to_owned(),
        kernel: system.release.clone(),
    }
}

/// Packs the disk image into the store.
fn pack(blobs: &Blobs, path: &Utf8Path) -> Result<(Stored, Content), BuildError> {
    let file = File::open(path).map_err(at("open", path))?;
    let mut raw = HashingReader::new(file);
    let mut writer = blobs.writer().map_err(BuildError::Blob)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    frames::compress(&mut raw, &mut writer, DISK_LEVEL, workers).map_err(BuildError::Pack)?;
    let (digest, size) = raw.finish();
    Ok((writer.finish().map_err(BuildError::Blob)?, Content { digest, size }))
}

/// Whether the bytes are an ELF program for x86-64 that needs no interpreter (ELF-64, figures 1 and
/// 4). As process 1 of the ramdisk there is none, and the kernel would only say "no init found".
fn is_static_elf(bytes: &[u8]) -> bool {
    const INTERPRETER: [u8; 4] = [3, 0, 0, 0];
    let field = |at: usize, n: usize| bytes.get(at..at + n);
    let number = |at: usize, n: usize| {
        field(at, n).map(|b| b.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b)))
    };
    let head = field(0, 6) == Some(b"\x7fELF\x02\x01") && number(18, 2) == Some(62);
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2))
    else {
        return false;
    };
    head && (0..count).all(|i| {
        let at = table.checked_add(i * size).and_then(|at| usize::try_from(at).ok());
        let kind = at.filter(|at| at.checked_add(4).is_some()).and_then(|at| field(at, 4));
        kind.is_some_and(|kind| kind != INTERPRETER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_can_be_the_agent() {
        // All that we build is static, this test too; Debian's own programs are not.
        assert!(is_static_elf(&fs::read(std::env::current_exe().unwrap()).unwrap()));
        assert!(!is_static_elf(&fs::read("/bin/sh").unwrap()));
        let mut program = vec![0u8; 64 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18] = 62;
        program[32] = 64;
        program[54] = 56;
        program[56] = 1;
        program[64] = 1;
        assert!(is_static_elf(&program));
        program[64] = 3;
        assert!(!is_static_elf(&program));
        for cut in 0..68 {
            assert!(!is_static_elf(&program[..cut]));
        }
    }
}
