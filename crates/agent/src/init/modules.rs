//! Loads the drivers of the hardware that is there: every device says what it is (`modalias`),
//! `modules.alias` says which module wants it, `modules.dep` what must be loaded before (depmod(8)).
//!
//! A loaded driver may bring new devices (a virtio bus has disks on it), so it goes round until
//! nothing new appears.

use std::{
    collections::{HashMap, HashSet},
    ffi::CStr,
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{io::Errno, system::finit_module, system::uname};

use crate::{log::Log, sys::Host};

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks it (linux/module.h).
const COMPRESSED_FILE: i32 = 4;
/// How long nothing new must have appeared. Buses are scanned in the background.
const QUIET: Duration = Duration::from_millis(300);
/// The bound on all rounds.
const TOTAL: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The depth of the tree of devices; the kernel's is below 20.
const DEPTH_MAX: usize = 32;

/// Loads all; says how many.
pub(super) fn load_all(host: &Host, log: &Log) -> usize {
    let release = uname().release().to_string_lossy().into_owned();
    let dir = format!("lib/modules/{release}");
    let read = |file: &str| fs::read_to_string(host.path(format!("{dir}/{file}")));
    let (Ok(aliases), Ok(deps)) = (read("modules.alias"), read("modules.dep")) else {
        log.say(format_args!("no kernel modules for {release} in this ramdisk"));
        return 0;
    };
    let catalog = Catalog::parse(&aliases, &deps);
    let (mut tried, mut loaded) = (HashSet::new(), 0);
    let (began, mut last_new) = (Instant::now(), Instant::now());
    while last_new.elapsed() < QUIET && began.elapsed() < TOTAL {
        let mut present = HashSet::new();
        modaliases(&host.path("sys/devices"), 0, &mut present);
        for alias in present {
            if tried.contains(&alias) {
                continue;
            }
            last_new = Instant::now();
            for path in catalog.wanted_by(&alias) {
                if tried.insert(path.to_owned()) {
                    loaded += usize::from(load(&host.path(&dir).join(path), log));
                }
            }
            tried.insert(alias);
        }
        thread::sleep(LOOK_EVERY);
    }
    loaded
}

fn modaliases(dir: &Path, depth: usize, found: &mut HashSet<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        // Symbolic links lead back up: file_type does not follow them.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => modaliases(&entry.path(), depth + 1, found),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                if let Ok(alias) = fs::read_to_string(entry.path()) {
                    found.insert(alias.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

fn load(path: &Path, log: &Log) -> bool {
    let packed = path.extension().is_some_and(|e| e != "ko");
    let flags = if packed { COMPRESSED_FILE } else { 0 };
    let none: &CStr = c"";
    let result = File::open(path)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        .and_then(|file| finit_module(file, none, flags));
    match result {
        Ok(()) => true,
        // There already, or for hardware that is not in this machine after all.
        Err(Errno::EXIST | Errno::NODEV) => false,
        Err(error) => {
            log.say(format_args!("cannot load {}: {error}", path.display()));
            false
        }
    }
}

/// What depmod wrote down.
struct Catalog<'a> {
    aliases: Vec<(&'a str, String)>,
    /// By name: the module's path and those of what it needs, in the order of loading.
    modules: HashMap<String, Vec<&'a str>>,
}

impl<'a> Catalog<'a> {
    fn parse(aliases: &'a str, deps: &'a str) -> Self {
        let alias = |line: &'a str| {
            let mut words = line.strip_prefix("alias ")?.split_whitespace();
            Some((words.next()?, module_name(words.next()?)))
        };
        let module = |line: &'a str| {
            let (path, needs) = line.split_once(':')?;
            let mut order: Vec<&str> = needs.split_whitespace().collect();
            order.reverse();
            order.push(path);
            Some((module_name(path), order))
        };
        Self {
            aliases: aliases.lines().filter_map(alias).collect(),
            modules: deps.lines().filter_map(module).collect(),
        }
    }

    /// The paths to load for a device, in order.
    fn wanted_by(&self, modalias: &str) -> Vec<&'a str> {
        let matching = self.aliases.iter().filter(|(pattern, _)| glob(pattern, modalias));
        let mut seen = HashSet::new();
        matching
            .filter_map(|(_, name)| self.modules.get(name))
            .flatten()
            .copied()
            .filter(|path| seen.insert(*path))
            .collect()
    }
}

/// `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`: the kernel does not tell `-` from `_`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Whether `text` matches `pattern` as fnmatch(3) has it: `*`, `?` and `[…]`. Takes time in
/// proportion to the product of the lengths, whatever the pattern.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
            continue;
        }
        if let Some(width) = pattern.get(p..).and_then(|rest| one(rest, text[t])) {
            p += width;
            t += 1;
            continue;
        }
        let Some((star, from)) = retry else { return false };
        retry = Some((star, from + 1));
        p = star + 1;
        t = from + 1;
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Matches one character against the front of a pattern; says how long that front is.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let close = pattern.iter().skip(2).position(|c| *c == b']')? + 2;
            let set = &pattern[1..close];
            let (negated, set) = match set.split_first() {
                Some((b'!' | b'^', rest)) => (true, rest),
                _ => (false, set),
            };
            (in_set(set, c) != negated).then_some(close + 1)
        }
        plain => (*plain == c).then_some(1),
    }
}

fn in_set(mut set: &[u8], c: u8) -> bool {
    loop {
        set = match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                rest
            }
            [first, rest @ ..] => {
                if *first == c {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIASES: &str = "# Aliases extracted from modules themselves.\n\
        alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n\
        alias virtio:d00000002v* virtio_blk\n\
        alias virtio:d00000001v* virtio_net\n\
        alias scsi:t-0x00* sd_mod\n\
        alias dmi*:bvn*Q[E-F]MU*: odd\n";
    const DEPS: &str = "kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko.xz \
        kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/net/virtio-net.ko: kernel/net/core/failover.ko\n";

    #[test]
    fn what_is_needed_comes_first() {
        let catalog = Catalog::parse(ALIASES, DEPS);
        assert_eq!(
            catalog.wanted_by("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"),
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko.xz",
                "kernel/drivers/virtio/virtio_pci.ko"
            ]
        );
        assert_eq!(
            catalog.wanted_by("virtio:d00000001v00001AF4"),
            ["kernel/net/core/failover.ko", "kernel/drivers/net/virtio-net.ko"]
        );
        assert!(catalog.wanted_by("virtio:d00000002v00001AF4").is_empty());
        assert!(catalog.wanted_by("usb:v1").is_empty());
    }

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "axxbxbc", true),
            ("a*b*c", "axxbxb", false),
            ("[0-9]x", "5x", true),
            ("[!0-9]x", "5x", false),
            ("[]]", "]", true),
            ("[", "[", false),
            ("?", "", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn matching_never_panics(pattern in "[a-c*?\\[\\]!-]{0,12}", text in "[a-c-]{0,12}") {
            let _ = glob(&pattern, &text);
            let around = format!("*{text}*");
            prop_assert!(glob(&around, &text));
        }

        #[test]
        fn any_catalog_is_read(aliases: String, deps: String) {
            let _ = Catalog::parse(&aliases, &deps).wanted_by("virtio:d00000001v00001AF4");
        }
    }
}
