//! Writer of OpenStack config drives: a small ISO 9660 file system with the label `config-2`.
//!
//! Pure and deterministic: files in, bytes out. Both trees are written, the plain one (ECMA-119,
//! interchange level 2, upper case) and Joliet's with the true names, which Linux prefers. The
//! installed system's agent reads it with [`crate::iso9660::Volume`]. What the files mean is OpenStack's metadata
//! format: `openstack/latest/meta_data.json`, `network_data.json`, `user_data`.

mod iso;

use std::collections::BTreeMap;

/// The label by which it is found.
pub const LABEL: &str = "config-2";

/// The files of a config drive, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDrive {
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a file cannot be on a config drive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigDriveError {
    /// Only letters, digits, `.`, `_` and `-`, at most 30 a part and 7 parts.
    #[error("`{0}` cannot be a path on a config drive")]
    Path(String),
    /// A file and a directory have the same name, or two names differ in case only.
    #[error("`{0}` is on the config drive twice")]
    Twice(String),
    /// More than 64 MiB in all, as OpenStack's own limit, or too many directories.
    #[error("the config drive would be larger than is allowed")]
    TooLarge,
}

impl ConfigDrive {
    /// A drive without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or replaces it.
    pub fn file(
        &mut self,
        path: &str,
        content: impl Into<Vec<u8>>,
    ) -> Result<&mut Self, ConfigDriveError> {
        let good = |part: &str| {
            (1..=30).contains(&part.len())
                && part.bytes().any(|c| c != b'.')
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
        };
        if !path.split('/').all(good) || path.split('/').count() > 7 {
            return Err(ConfigDriveError::Path(path.chars().take(200).collect()));
        }
        self.files.insert(path.to_owned(), content.into());
        Ok(self)
    }

    /// Adds `openstack/latest/meta_data.json`.
    pub fn meta_data(&mut self, meta_data: &serde_json::Value) -> &mut Self {
        self.files.insert("openstack/latest/meta_data.json".into(), meta_data.to_string().into());
        self
    }

    /// Adds `openstack/latest/network_data.json`.
    pub fn network_data(&mut self, network_data: &serde_json::Value) -> &mut Self {
        let text = network_data.to_string();
        self.files.insert("openstack/latest/network_data.json".into(), text.into());
        self
    }

    /// Adds `openstack/latest/user_data`.
    pub fn user_data(&mut self, user_data: impl Into<Vec<u8>>) -> &mut Self {
        self.files.insert("openstack/latest/user_data".into(), user_data.into());
        self
    }

    /// The files, by path.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The file system.
    pub fn to_iso(&self) -> Result<Vec<u8>, ConfigDriveError> {
        iso::write(&self.files, LABEL)
    }
}

#[cfg(test)]
mod tests;
