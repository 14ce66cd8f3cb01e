//! Kernel modules for an initial ramdisk: those of a list, what they need, and depmod's tables cut
//! down to them. They stay packed as they are: the kernel unpacks those that are loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{BuildError, at, root::System};
use crate::cpio::{Archive, CpioError};

/// Adds `lib/modules` with the modules of `list` to `modules`, and the tables to `tables_to`.
pub(super) fn add(
    modules: &mut Archive,
    tables_to: &mut Archive,
    list: &[String],
    system: &System,
) -> Result<(), BuildError> {
    let base = format!("usr/lib/modules/{}", system.release);
    let lib = format!("lib/modules/{}", system.release);
    let tables = read_tables(system, &base)?;
    let wanted = closure(list, &tables.needs)?;
    let mut made = BTreeSet::new();
    parents(modules, &mut made, &format!("{lib}/x"))?;
    copy_modules(modules, &mut made, system, &base, &lib, &wanted)?;
    let (dep, alias) = (tables.dep_of(&wanted), tables.alias_of(&wanted));
    tables_to.file(&format!("{lib}/modules.dep"), 0o644, dep.as_bytes())?;
    tables_to.file(&format!("{lib}/modules.alias"), 0o644, alias.as_bytes())?;
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
            archive.dir(&path[..at], 0o755)?;
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
