//! The identity of this boot: read once, then deleted, so that nothing that gets into the ramdisk
//! later finds the secret in a file.

use std::{fs, io};

use undercloud_model::agent::{BootIdentity, IDENTITY_PATH};

use crate::sys::Host;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is not there: the ramdisk was started by somebody else than our netboot.
    #[error("cannot read {IDENTITY_PATH}: this ramdisk must be booted through undercloud")]
    Read(#[source] io::Error),
    /// The file is not an identity. Its text is not quoted: it may hold the secret.
    #[error("{IDENTITY_PATH} is not valid at line {line}, column {column}")]
    Syntax {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
}

/// Reads the identity and deletes its file.
pub(super) fn take(host: &Host) -> Result<BootIdentity, IdentityError> {
    let path = IDENTITY_PATH.trim_start_matches('/');
    let bytes = host.bytes(path).map_err(IdentityError::Read)?;
    fs::remove_file(host.path(path)).map_err(IdentityError::Read)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| IdentityError::Syntax { line: e.line(), column: e.column() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::below(dir.path());
        assert!(matches!(take(&host), Err(IdentityError::Read(_))));
        fs::create_dir_all(dir.path().join("etc/undercloud")).unwrap();
        let text = r#"{"protocol":1,"api":"https://192.168.24.1:8443",
            "node":"6f1b2d3c-0000-4000-8000-000000000001","secret":"s","ca_pem":"",
            "network":{"mac":"52:54:00:12:34:56","address":"192.168.24.101/24","gateway":null},
            "now_ms":1700000000000}"#;
        fs::write(dir.path().join("etc/undercloud/boot.json"), text).unwrap();
        assert_eq!(take(&host).unwrap().api, "https://192.168.24.1:8443");
        assert!(matches!(take(&host), Err(IdentityError::Read(_))));
    }

    #[test]
    fn a_broken_identity_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/undercloud")).unwrap();
        let path = dir.path().join("etc/undercloud/boot.json");
        fs::write(&path, r#"{"protocol":"hunter2"}"#).unwrap();
        let error = crate::log::chain(&take(&Host::below(dir.path())).unwrap_err());
        assert_eq!(error, "/etc/undercloud/boot.json is not valid at line 1, column 21");
        assert!(!path.exists());
    }
}
