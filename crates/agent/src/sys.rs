//! Where the kernel shows the machine: `/sys`, `/proc` and `/dev`, or a directory with copies of
//! them, so that everything that reads them can be tried on captured trees.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

/// The most that is read of one file of the kernel.
const FILE_MAX: u64 = 1 << 20;
/// The longest text of one attribute that is passed on, in bytes (`Inventory::check` asks for it).
const TEXT_MAX: usize = 256;

/// The kernel's trees.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    settle: Duration,
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        Self { root: "/".into(), settle: Duration::from_secs(5) }
    }

    /// The trees below `root`; they do not change by themselves, so nothing is waited for.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), settle: Duration::ZERO }
    }

    /// How long hardware is given to come up before it is described.
    pub fn settle(&self) -> Duration {
        self.settle
    }

    /// A path below the root. `path` has no leading slash and never comes from the network.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// A file's bytes, bounded.
    pub fn bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(path))?.take(FILE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A file's text, bounded.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// An attribute as clean text, where it is there and not empty.
    pub fn attribute(&self, path: impl AsRef<Path>) -> Option<String> {
        clean(&self.text(path).ok()?)
    }

    /// An attribute that is a number.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.attribute(path)?.parse().ok()
    }

    /// The names in a directory, sorted; none where it is not there.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether the path is there.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// What tells this boot from every other: the kernel's id, and when process 1 started, in ticks
    /// of the kernel's clock. A container starts anew under a kernel that goes on.
    pub fn boot_id(&self) -> String {
        let kernel = self.attribute("proc/sys/kernel/random/boot_id").unwrap_or_default();
        let started = self.text("proc/1/stat").ok().and_then(|stat| start_of(&stat));
        started.map_or(kernel.clone(), |ticks| format!("{kernel}-{ticks}"))
    }
}

/// When a process started: field 22 of its `stat` (proc(5)). The name before, in brackets, may hold
/// anything.
fn start_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// Text as it may be passed on: trimmed, printable, bounded; nothing where nothing is left.
pub fn clean(text: &str) -> Option<String> {
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned();
    let mut end = printable.len().min(TEXT_MAX);
    while !printable.is_char_boundary(end) {
        end -= 1;
    }
    let text = printable[..end].trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn clean_text_is_bounded_and_printable(text: String) {
            if let Some(text) = clean(&text) {
                prop_assert!((1..=TEXT_MAX).contains(&text.len()));
                prop_assert!(!text.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn a_process_1_that_started_anew_is_another_boot() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::below(dir.path());
        let random = dir.path().join("proc/sys/kernel/random");
        fs::create_dir_all(&random).unwrap();
        fs::create_dir_all(dir.path().join("proc/1")).unwrap();
        fs::write(random.join("boot_id"), "3f0c7b1e-0000-4000-8000-000000000001\n").unwrap();
        assert_eq!(host.boot_id(), "3f0c7b1e-0000-4000-8000-000000000001");
        let started = |ticks: &str| {
            let stat = format!(
                "1 (in) it) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 22 33 44\n"
            );
            fs::write(dir.path().join("proc/1/stat"), stat).unwrap();
            host.boot_id()
        };
        assert_eq!(started("2"), "3f0c7b1e-0000-4000-8000-000000000001-2");
        assert_ne!(started("2"), started("812345"));
        assert_eq!(started("x"), "3f0c7b1e-0000-4000-8000-000000000001");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(clean(&"é".repeat(200)).unwrap().len(), 256);
        assert_eq!(clean(&format!("a{}", "é".repeat(200))).unwrap().len(), 255);
        assert_eq!(clean("\0 \n"), None);
    }
}
