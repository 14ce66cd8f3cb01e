//! Files that are there whole or not at all, for their owner alone.

use std::path::Path;

use anyhow::{Context as _, Result};
use undercloud_durable::{Access, replace};

/// Puts `bytes` in the place of the file at `path`, for its owner alone.
///
/// # Errors
/// When the file system refuses; what was at `path` is there still.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, Access::PRIVATE)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let said = format!("{:#}", write(&dir.path().join("no/file"), b"").unwrap_err());
        assert!(said.starts_with("cannot write /") && said.contains("no/file: "), "{said}");
    }
}
