//! `undercloud-agent run`: the installed system's service. Outbound connections only, with the key
//! that this machine got at its deployment.
//!
//! Its first poll tells the daemon that the machine is up from its disk.

use std::{fs, io, os::unix::fs::PermissionsExt, sync::Arc, thread, time::Duration};

use undercloud_model::{
    ParseSshHostKeyError, SshHostKey,
    agent::{INSTALLED_IDENTITY_PATH, InstalledIdentity},
};

use crate::{
    client::{Client, ClientError},
    cloud::{self, Cloud, ThisMachine},
    first_boot::HOST_KEY,
    log::Log,
    session::{Rhythm, Session, SessionError, System, common_version},
    steps::{Executor, Place},
    sys::Host,
};

/// How long a refused service waits before it asks again: the key may be of a node that is just
/// being deployed anew, and a restart in a loop would fill two logs.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// How many orders are done at once. Most of them wait: for a service, for a download.
const ORDERS_AT_ONCE_MAX: usize = 8;

/// Why the service cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No identity, so this machine was not deployed, or its first boot failed.
    #[error("cannot read {INSTALLED_IDENTITY_PATH}; see `journalctl -u undercloud-first-boot`")]
    Identity(#[source] io::Error),
    /// Others may read the key.
    #[error("{INSTALLED_IDENTITY_PATH} is readable by others (mode {0:o}): `chmod 600` it")]
    Mode(u32),
    /// It is not an identity.
    #[error("{INSTALLED_IDENTITY_PATH} is not valid at line {line}, column {column}")]
    Syntax {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Serves for ever; returns only when the identity is no good.
pub fn run(host: &Host, log: &Log) -> Result<(), RunError> {
    let identity = read_identity(host)?;
    let protocol = common_version(identity.protocol)?;
    let client = Client::new(&identity.api, &identity.ca_pem).map_err(SessionError::from)?;
    let client = client.with_key(identity.key.clone());
    log.say(format_args!("{} calls {}", identity.name, identity.api));
    let cloud = Arc::new(Cloud::new(host.clone(), identity, Arc::new(ThisMachine)));
    if let Err(failure) = cloud.prepare(log) {
        // The daemon is to hear of it by the step that fails, not by an agent that stays away.
        log.say(failure.message);
    }
    let executor = Executor::new(host.clone(), Place::Installed, client.clone(), log.clone())
        .with_cloud(cloud.clone());
    let rhythm = Rhythm::default();
    let (boot_id, ssh_host_key) = (host.boot_id(), ssh_host_key(host, log));
    let system = System { protocol, boot_id, ssh_host_key, health: cloud::watch(cloud, log) };
    let session = Session::new(client, executor, system, rhythm, log.clone())
        .with_orders_at_once(ORDERS_AT_ONCE_MAX);
    loop {
        let refusal: ClientError = session.run();
        log.say(format_args!("{refusal}; asking again in {} s", REFUSED_PAUSE.as_secs()));
        thread::sleep(REFUSED_PAUSE);
    }
}

/// What the first boot made. Without it nobody can log in, and all else works.
fn ssh_host_key(host: &Host, log: &Log) -> Option<SshHostKey> {
    let path = format!("{HOST_KEY}.pub");
    let key = host.text(&path).map_err(|e| e.to_string());
    let key = key.and_then(|text| text.parse().map_err(|e: ParseSshHostKeyError| e.to_string()));
    key.inspect_err(|error| log.say(format_args!("no ssh host key in /{path}: {error}"))).ok()
}

fn read_identity(host: &Host) -> Result<InstalledIdentity, RunError> {
    let path = INSTALLED_IDENTITY_PATH.trim_start_matches('/');
    let mode = fs::metadata(host.path(path)).map_err(RunError::Identity)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(RunError::Mode(mode & 0o7777));
    }
    let bytes = host.bytes(path).map_err(RunError::Identity)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| RunError::Syntax { line: e.line(), column: e.column() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with(content: &str, mode: u32) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/undercloud/agent.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let host = Host::below(dir.path());
        (dir, host)
    }

    #[test]
    fn an_identity_that_others_can_read_is_refused() {
        let (_dir, host) = host_with("{}", 0o644);
        let error = read_identity(&host).unwrap_err().to_string();
        assert_eq!(
            error,
            "/etc/undercloud/agent.json is readable by others (mode 644): `chmod 600` it"
        );
    }

    #[test]
    fn the_ssh_host_key_is_what_the_first_boot_made() {
        let (dir, host) = host_with("{}", 0o600);
        let log = Log::new(Vec::new());
        assert_eq!(ssh_host_key(&host, &log), None);
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let folder = dir.path().join("etc/ssh");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ssh_host_ed25519_key.pub"), format!("{key} root@here\n")).unwrap();
        assert_eq!(ssh_host_key(&host, &log).unwrap().to_string(), key);
    }

    #[test]
    fn a_broken_identity_is_not_quoted() {
        let (_dir, host) = host_with("{\"protocol\":\"hunter2\"}", 0o600);
        let error = crate::log::chain(&read_identity(&host).unwrap_err());
        assert!(error.ends_with("at line 1, column 21"), "{error}");
        assert!(!error.contains("hunter2"));
    }
}
