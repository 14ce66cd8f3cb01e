//! The whole-disk image overcloud-full: GPT, boot loaders for BIOS and UEFI, one root file system.
//!
//! No loop device, no mount: `mke2fs` and `mkfs.vfat` write into their places in the one file, and
//! mke2fs takes the files from a tar stream, in which ours follow those of the system. That is what
//! makes a change of ours cost seconds: mke2fs needs two or three of them for the whole system, and
//! it leaves nothing to patch afterwards (owners, modes and links come from the stream).
//! The root partition is the last one, so that it can grow.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::Digest;

use super::{
    BuildError, at,
    child::{Log, Run},
    grub::{self, Platform},
    recipe::{Overcloud, fits},
    root::System,
};
use crate::{
    gpt::{ALIGN_SECTORS, Guid, Partition, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ROOT_X86_64, Table},
    tar::{Member, MemberKind, Writer, copy_members},
};

const MIB: u64 = 1 << 20;
/// A file of the system with an inode and its place in a directory, on top of its content.
const ENTRY_BYTES: u64 = 512;
/// Where the agent is in the image.
const AGENT_PATH: &str = "usr/sbin/undercloud-agent";
/// Where GRUB finds the initrd.
const INITRD_PATH: &str = "boot/initrd.img";

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk<'a> {
    pub(super) recipe: &'a Overcloud,
    pub(super) system: &'a System,
    /// The builder's root directory.
    pub(super) root: &'a Utf8Path,
    pub(super) agent: &'a [u8],
    pub(super) initrd: &'a [u8],
    /// Ids are made of it.
    pub(super) inputs: &'a Digest,
    /// The time of all files, in seconds.
    pub(super) date: u64,
}

/// Files that the boot loader's steps make, inside the builder's root directory.
const WORK: &str = "work";

impl Disk<'_> {
    /// Makes the image; returns the file, which the next build removes.
    pub(super) fn build(&self, log: &Log<'_>) -> Result<Utf8PathBuf, BuildError> {
        let work = self.root.join(WORK);
        clear(&work)?;
        fs::create_dir(&work).map_err(at("make the directory", &work))?;
        let contents = Contents::survey(self)?;
        let table = self.table(contents.root_bytes(self.recipe))?;
        let path = work.join("disk.raw");
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(at("create", &path))?;
        file.set_len(table.disk_bytes()).map_err(at("resize", &path))?;
        let [bios, esp, root] = table.partitions() else {
            return Err(BuildError::Content("the partition table has another shape"));
        };
        self.make_root(root, &contents, log)?;
        let core = self.make_core(Platform::Bios, root.id, log)?;
        self.make_core(Platform::Efi, root.id, log)?;
        self.make_esp(esp, log)?;
        let boot = self.root.join("usr/lib/grub/i386-pc/boot.img");
        let boot = fs::read(&boot).map_err(at("read", &boot))?;
        let core = fs::read(&core).map_err(at("read", &core))?;
        let mut head = vec![0u8; 34 * 512];
        let core = grub::embed(&mut head, &boot, &core, bios.first, bios.size_bytes())?;
        table.write_head(&mut head).map_err(BuildError::Table)?;
        let (end, tail) = table.tail();
        for (bytes, to) in [(&core, bios.offset_bytes()), (&tail, end), (&head, 0)] {
            file.write_all_at(bytes, to).map_err(at("write", &path))?;
        }
        Ok(path)
    }

    fn table(&self, root_bytes: u64) -> Result<Table, BuildError> {
        let id = |what| grub::id(self.inputs, what);
        let esp = self.recipe.disk.esp_mib;
        // Before the first partition and behind the last one a MiB each.
        let total = (1 + 1 + esp + 1) * MIB + root_bytes;
        let mut table = Table::new(id("disk"), total).map_err(BuildError::Table)?;
        for (kind, name, sectors) in [
            (TYPE_BIOS_BOOT, "bios", ALIGN_SECTORS),
            (TYPE_ESP, "esp", esp * ALIGN_SECTORS),
            (TYPE_ROOT_X86_64, "root", root_bytes / 512),
        ] {
            table.push(kind, id(name), name, sectors).map_err(BuildError::Table)?;
        }
        Ok(table)
    }

    fn tool(&self, program: &str) -> Run {
        Run::inside(self.root, program)
            .env("SOURCE_DATE_EPOCH", self.date.to_string())
            .deadline(Duration::from_secs(600))
    }

    fn make_root(
        &self,
        place: &Partition,
        contents: &Contents,
        log: &Log<'_>,
    ) -> Result<(), BuildError> {
        let id = place.id;
        let offset = place.offset_bytes();
        self.tool("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-b", "4096"])
            .arg("-U")
            .arg(id.to_string())
            .arg("-J")
            .arg(format!("size={}", self.recipe.disk.journal_mib))
            .arg("-E")
            .arg(format!("offset={offset},hash_seed={id},lazy_itable_init=0,nodiscard"))
            .args(["-d", "-"])
            .arg(format!("/{WORK}/disk.raw"))
            .arg(format!("{}k", place.size_bytes() / 1024))
            .run_with(log, |stdin| self.stream(contents, id, stdin))
    }

    /// The files of the system but for some, then ours.
    fn stream(&self, contents: &Contents, root: Guid, to: &mut dyn Write) -> io::Result<()> {
        let mut to = io::BufWriter::with_capacity(1 << 20, to);
        let from = io::BufReader::with_capacity(1 << 20, File::open(&self.system.tar)?);
        copy_members(from, &mut to, |member| !contents.replaced(self.recipe, &member.path))?;
        let mut writer = Writer::new(to, self.date);
        for dir in &contents.new_dirs {
            writer.dir(dir, 0o755)?;
        }
        for (path, text) in self.recipe.files() {
            let text = text.replace("@ROOT_UUID@", &root.to_string());
            writer.file(path, 0o644, text.as_bytes())?;
        }
        writer.file(INITRD_PATH, 0o644, self.initrd)?;
        writer.file(AGENT_PATH, 0o755, self.agent)?;
        for (path, target) in links(self.recipe) {
            writer.symlink(&path, &target)?;
        }
        writer.finish()?.flush()
    }

    fn make_core(
        &self,
        platform: Platform,
        root: Guid,
        log: &Log<'_>,
    ) -> Result<Utf8PathBuf, BuildError> {
        let name = platform.name();
        let config = self.root.join(WORK).join("early.cfg");
        fs::write(&config, grub::early_config(root)).map_err(at("write", &config))?;
        self.tool("grub-mkimage")
            .args(["-O", name, "-d"])
            .arg(format!("/usr/lib/grub/{name}"))
            .arg("-o")
            .arg(format!("/{WORK}/{name}"))
            .arg("-c")
            .arg(format!("/{WORK}/early.cfg"))
            .args(["-p", "/boot/grub"])
            .args(platform.modules())
            .run(log)?;
        Ok(self.root.join(WORK).join(name))
    }

    fn make_esp(&self, place: &Partition, log: &Log<'_>) -> Result<(), BuildError> {
        let image = format!("/{WORK}/disk.raw");
        let serial = u32::from_le_bytes(place.id.to_disk()[..4].try_into().unwrap_or_default());
        self.tool("mkfs.vfat")
            // A 32 MiB file system has too few clusters for FAT32 as dosfstools counts them.
            .args(["-F", "16", "--invariant", "-n", "ESP", "-i"])
            .arg(format!("{serial:08x}"))
            .arg("--offset")
            .arg(place.first.to_string())
            .arg(&image)
            .arg((place.size_bytes() / 1024).to_string())
            .run(log)?;
        let image = format!("{image}@@{}", place.offset_bytes());
        self.tool("mmd").args(["-i", &image, "::/EFI", "::/EFI/BOOT"]).run(log)?;
        let efi = format!("/{WORK}/{}", Platform::Efi.name());
        self.tool("mcopy").args(["-i", &image, &efi, "::/EFI/BOOT/BOOTX64.EFI"]).run(log)
    }
}

/// Removes what is in the work directory.
pub(super) fn clear(work: &Utf8Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(work) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", work)(e)),
        _ => Ok(()),
    }
}

/// All symbolic links of ours.
fn links(recipe: &Overcloud) -> Vec<(String, String)> {
    let off = |dir: &str, name: &String| (format!("etc/systemd/{dir}/{name}"), "/dev/null".into());
    let units = recipe.mask.iter().map(|name| off("system", name));
    let generators = recipe.mask_generators.iter().map(|name| off("system-generators", name));
    units
        .chain(generators)
        .chain(recipe.links.iter().map(|(p, t)| (p.clone(), t.clone())))
        .collect()
}

/// What will be in the root file system, before it is made: its size must be known first.
struct Contents {
    /// Paths of ours, which replace the system's.
    ours: BTreeSet<String>,
    /// Directories that only ours need.
    new_dirs: BTreeSet<String>,
    /// Bytes in whole blocks, and the entries themselves.
    bytes: u64,
    entries: u64,
}

impl Contents {
    fn survey(disk: &Disk<'_>) -> Result<Self, BuildError> {
        let recipe = disk.recipe;
        let files = recipe.files().map(|(path, text)| (path.to_owned(), text.len() as u64));
        let links = links(recipe).into_iter().map(|(path, _)| (path, 0));
        let own = [(AGENT_PATH, disk.agent), (INITRD_PATH, disk.initrd)];
        let own = own.map(|(path, content)| (path.to_owned(), content.len() as u64));
        let sizes: Vec<(String, u64)> = files.chain(links).chain(own).collect();
        let mut contents = Self {
            ours: sizes.iter().map(|(path, _)| path.clone()).collect(),
            new_dirs: BTreeSet::new(),
            bytes: 0,
            entries: 0,
        };
        for (_, size) in &sizes {
            contents.count(*size, false);
        }
        let mut known = BTreeSet::new();
        let mut reader = disk.system.read()?;
        let failed = |e| at("read", &disk.system.tar)(e);
        while let Some(Member { path, kind, size, .. }) = reader.next_member().map_err(failed)? {
            if !contents.replaced(recipe, &path) {
                contents.count(size, kind == MemberKind::Directory);
                if kind != MemberKind::File {
                    // Links to directories (`lib`, `bin`) count as their directories do.
                    known.insert(path);
                }
            }
        }
        for path in &contents.ours {
            for (end, _) in path.match_indices('/') {
                if !known.contains(&path[..end]) {
                    contents.new_dirs.insert(path[..end].to_owned());
                }
            }
        }
        Ok(contents)
    }

    fn count(&mut self, size: u64, is_dir: bool) {
        self.bytes += size.next_multiple_of(4096) + if is_dir { 4096 } else { 0 };
        self.entries += 1;
    }

    fn replaced(&self, recipe: &Overcloud, path: &str) -> bool {
        self.ours.contains(path) || recipe.remove.iter().any(|pattern| fits(pattern, path))
    }

    /// Bytes of a file system that takes it all and leaves the free space that the recipe wants.
    fn root_bytes(&self, recipe: &Overcloud) -> u64 {
        let used = self.bytes + self.entries * ENTRY_BYTES;
        let whole = used + (recipe.disk.free_mib + recipe.disk.journal_mib) * MIB;
        // Inode tables (1/64), group descriptors, reserved blocks (1/100).
        (whole + whole / 24).next_multiple_of(MIB)
    }
}
