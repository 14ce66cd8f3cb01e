//! The deploy ramdisk: modules of the system's kernel, busybox, and our agent as `/init`.
//!
//! Three segments: modules as they are (packed each by itself, so that a machine unpacks only what
//! it loads), the rest of the system, and the agent, which alone changes from day to day.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use camino::Utf8Path;

use super::{BuildError, at, recipe::Deploy, root::System};
use crate::cpio::{Archive, CpioError};

/// Packed once and read often; above this the size hardly falls.
const LEVEL: i32 = 9;

impl From<CpioError> for BuildError {
    fn from(source: CpioError) -> Self {
        Self::Cpio(source)
    }
}

/// Makes `new/segments`, the ramdisk without the agent.
pub(super) fn system_part(
    new: &Utf8Path,
    recipe: &Deploy,
    system: &System,
    builder: &Utf8Path,
) -> Result<(), BuildError> {
    let base = format!("usr/lib/modules/{}", system.release);
    let tables = read_tables(system, &base)?;
    let wanted = closure(&recipe.modules, &tables.needs)?;
    let mut modules = Archive::new();
    let lib = format!("lib/modules/{}", system.release);
    let mut made = BTreeSet::new();
    parents(&mut modules, &mut made, &lib)?;
    copy_modules(&mut modules, &mut made, system, &base, &lib, &wanted)?;
    let mut rest = Archive::new();
    let mut made_in_rest = made.clone();
    for dir in ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp"] {
        parents(&mut rest, &mut made_in_rest, &format!("{dir}/x"))?;
    }
    rest.char_device("dev/console", 0o600, 5, 1)?;
    rest.char_device("dev/null", 0o666, 1, 3)?;
    rest.file(&format!("{lib}/modules.dep"), 0o644, tables.dep_of(&wanted).as_bytes())?;
    rest.file(&format!("{lib}/modules.alias"), 0o644, tables.alias_of(&wanted).as_bytes())?;
    let path = builder.join("root/usr/bin/busybox");
    let busybox = fs::read(&path).map_err(at("read", &path))?;
    rest.file("bin/busybox", 0o755, &busybox)?;
    for name in &recipe.busybox {
        rest.symlink(&format!("bin/{name}"), "busybox")?;
    }
    let mut segments = modules.finish();
    append(&mut segments, rest)?;
    let path = new.join("segments");
    fs::write(&path, segments).map_err(at("write", &path))
}

/// The whole ramdisk: the cached segments, then the agent.
pub(super) fn with_agent(entry: &Utf8Path, agent: &[u8]) -> Result<Vec<u8>, BuildError> {
    let path = entry.join("segments");
    let mut ramdisk = fs::read(&path).map_err(at("read", &path))?;
    let mut last = Archive::new();
    last.file("init", 0o755, agent)?;
    append(&mut ramdisk, last)?;
    Ok(ramdisk)
}

/// The kernel passes over zeros between segments; it wants each at a multiple of four.
fn append(segments: &mut Vec<u8>, archive: Archive) -> Result<(), BuildError> {
    segments.resize(segments.len().next_multiple_of(4), 0);
    segments.extend(archive.finish_zstd(LEVEL).map_err(BuildError::Pack)?);
    segments.resize(segments.len().next_multiple_of(4), 0);
    Ok(())
}

/// Adds the directories above `path` that are not there yet.
fn parents(
    archive: &mut Archive,
    made: &mut BTreeSet<String>,
    path: &str,
) -> Result<(), CpioError> {
    for (at, _) in path.match_indices('/') {
        if made.insert(path[..at].to_owned()) {
            archive.dir(&path[..at], if &path[..at] == "tmp" { 0o1777 } else { 0o755 })?;
        }
    }
    Ok(())
}

/// What depmod wrote down in the system.
#[derive(Debug, Default)]
struct Tables {
    /// By module, what it needs, as paths below the module tree.
    needs: BTreeMap<String, Vec<String>>,
    aliases: Vec<String>,
}

fn read_tables(system: &System, base: &str) -> Result<Tables, BuildError> {
    let (dep, alias) = (format!("{base}/modules.dep"), format!("{base}/modules.alias"));
    let mut tables = Tables::default();
    let mut reader = system.read()?;
    let failed = |e| at("read", &system.tar)(e);
    while let Some(member) = reader.next_member().map_err(failed)? {
        if member.path != dep && member.path != alias {
            continue;
        }
        let content = reader.content(&member).map_err(failed)?;
        let text = String::from_utf8_lossy(&content);
        if member.path == dep {
            for (module, needs) in text.lines().filter_map(|l| l.split_once(':')) {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                tables.needs.insert(module.to_owned(), needs);
            }
        } else {
            tables.aliases = text.lines().map(str::to_owned).collect();
        }
    }
    if tables.needs.is_empty() || tables.aliases.is_empty() {
        return Err(BuildError::Content("the system has no table of its kernel's modules"));
    }
    Ok(tables)
}

impl Tables {
    fn dep_of(&self, wanted: &BTreeSet<String>) -> String {
        let lines = self.needs.iter().filter(|(module, _)| wanted.contains(*module));
        lines.map(|(module, needs)| format!("{module}: {}\n", needs.join(" "))).collect()
    }

    fn alias_of(&self, wanted: &BTreeSet<String>) -> String {
        let names: BTreeSet<String> = wanted.iter().map(|path| name_of(path)).collect();
        let lines = self.aliases.iter().filter(|line| {
            let module = line.rsplit(' ').next().unwrap_or_default();
            line.starts_with("alias ") && names.contains(module)
        });
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// A module's name as the kernel has it: `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The modules of the list, and all that they need.
fn closure(
    list: &[String],
    needs: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeSet<String>, BuildError> {
    let mut wanted = BTreeSet::new();
    for entry in list {
        let path = format!("kernel/{entry}");
        let is_it = |module: &str| {
            let rest = module.strip_prefix(path.as_str());
            // A directory; a module, perhaps packed.
            rest.is_some_and(|r| r.starts_with('/') || r.is_empty() || r.starts_with('.'))
        };
        let found: Vec<&String> = needs.keys().filter(|m| is_it(m)).collect();
        if found.is_empty() {
            return Err(BuildError::NoModule(entry.clone()));
        }
        for module in found {
            wanted.insert(module.clone());
            // depmod lists all that is needed, however indirectly.
            wanted.extend(needs.get(module).into_iter().flatten().cloned());
        }
    }
    Ok(wanted)
}

fn copy_modules(
    archive: &mut Archive,
    made: &mut BTreeSet<String>,
    system: &System,
    base: &str,
    lib: &str,
    wanted: &BTreeSet<String>,
) -> Result<(), BuildError> {
    let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
    let mut reader = system.read()?;
    let failed = |e| at("read", &system.tar)(e);
    while let Some(member) = reader.next_member().map_err(failed)? {
        let relative = member.path.strip_prefix(base).and_then(|p| p.strip_prefix('/'));
        let Some(relative) = relative.filter(|r| wanted.contains(*r)) else { continue };
        let relative = relative.to_owned();
        contents.insert(relative, reader.content(&member).map_err(failed)?);
    }
    for module in wanted {
        let content = contents.get(module).ok_or_else(|| BuildError::NoModule(module.clone()))?;
        let path = format!("{lib}/{module}");
        parents(archive, made, &path)?;
        archive.file(&path, 0o644, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> BTreeMap<String, Vec<String>> {
        let line =
            |m: &str, n: &[&str]| (m.to_owned(), n.iter().map(|s| (*s).to_owned()).collect());
        BTreeMap::from([
            line("kernel/drivers/net/virtio_net.ko.xz", &["kernel/net/core/failover.ko.xz"]),
            line("kernel/drivers/net/virtio_netx.ko.xz", &[]),
            line("kernel/net/core/failover.ko.xz", &[]),
            line("kernel/fs/fat/fat.ko.xz", &[]),
            line("kernel/fs/fat/vfat.ko.xz", &["kernel/fs/fat/fat.ko.xz"]),
        ])
    }

    #[test]
    fn a_module_brings_what_it_needs_and_not_its_namesakes() {
        let list = ["drivers/net/virtio_net.ko".to_owned(), "fs/fat".to_owned()];
        let wanted = closure(&list, &needs()).unwrap();
        assert_eq!(wanted.len(), 4);
        assert!(!wanted.contains("kernel/drivers/net/virtio_netx.ko.xz"));
        let missing = closure(&["drivers/gone.ko".to_owned()], &needs()).unwrap_err();
        assert!(matches!(missing, BuildError::NoModule(name) if name == "drivers/gone.ko"));
    }

    #[test]
    fn tables_speak_of_the_modules_that_are_there() {
        let aliases = ["# depmod", "alias virtio:d1 virtio_net", "alias fs-vfat vfat"];
        let tables =
            Tables { needs: needs(), aliases: aliases.iter().map(|a| (*a).to_owned()).collect() };
        let wanted = closure(&["fs/fat/vfat.ko".to_owned()], &needs()).unwrap();
        assert_eq!(tables.alias_of(&wanted), "alias fs-vfat vfat\n");
        let dep = "kernel/fs/fat/fat.ko.xz: \nkernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz\n";
        assert_eq!(tables.dep_of(&wanted), dep);
    }
}
