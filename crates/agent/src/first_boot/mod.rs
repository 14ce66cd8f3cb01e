//! `undercloud-agent first-boot`: once in the installed system, before its network.
//!
//! Reads the config drive that the ramdisk's agent wrote behind the image (OpenStack's format, label
//! `config-2`), and makes this machine what it says: name, network, keys, identity. Every part can
//! be done twice; the marker is written last, so that a machine that loses power in between starts
//! again from the beginning.
//!
//! The drive holds the machine's key for the daemon. Only root can read it, and once the key is in
//! `/etc/undercloud/agent.json` (0600) its copy on the drive is overwritten. The other files stay,
//! for people.

mod drive;
mod files;
mod meta_data;
mod networkd;
mod system;

pub(crate) use system::HOST_KEY;

use std::io;

use undercloud_model::agent::{DRIVE_IDENTITY_PATH, INSTALLED_IDENTITY_PATH, InstalledIdentity};

use self::drive::Contents;
use crate::{log::Log, sys::Host};

pub use drive::DriveError;
pub use meta_data::MetaData;
pub(crate) use networkd::CARD;
pub use networkd::{UnitFile, render};
pub use undercloud_model::network_data::{NetworkData, NetworkDataError};

/// Says that it was done.
const MARKER: &str = "etc/undercloud/first-boot.done";

/// Why the first boot is not done.
#[derive(Debug, thiserror::Error)]
pub enum FirstBootError {
    /// The drive is not there or cannot be read.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A file of the drive does not hold what it should. Its text is not quoted.
    #[error("{path} on the config drive is not valid at line {line}, column {column}")]
    Syntax {
        /// Which file.
        path: &'static str,
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// A file of the drive cannot be read.
    #[error("cannot read {path} on the config drive")]
    Read {
        /// Which file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The network is described in a way that this agent does not know.
    #[error("the config drive's network_data.json")]
    Network(#[from] NetworkDataError),
    /// A file of this system cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Does the first boot, unless it was done.
pub fn run(host: &Host, log: &Log) -> Result<(), FirstBootError> {
    if host.has(MARKER) {
        log.say("the first boot was done before");
        return Ok(());
    }
    let drive = drive::Drive::find(host)?;
    log.say(format_args!("the config drive is {}", drive.name()));
    let mut contents = drive.open()?;
    let applied = apply(host, &mut contents, log)?;
    contents.close()?;
    system::settle(host, &applied.hostname, log);
    if let Some(secret) = applied.identity {
        match drive.erase(&secret) {
            Ok(()) => log.say("the key's copy on the config drive is overwritten"),
            Err(error) => log.say(format_args!(
                "the key's copy on the config drive stays (readable by root only): {error}"
            )),
        }
    }
    files::write(host, MARKER, 0o644, b"")?;
    log.say("the first boot is done");
    Ok(())
}

/// What came from the drive and is needed further on.
#[derive(Debug)]
struct Applied {
    hostname: Option<String>,
    /// The identity's file as it is on the drive, where there is one.
    identity: Option<Vec<u8>>,
}

/// Writes the files that the drive asks for.
fn apply(host: &Host, drive: &mut Contents, log: &Log) -> Result<Applied, FirstBootError> {
    let identity = apply_identity(host, drive, log)?;
    let path = "openstack/latest/meta_data.json";
    let meta_data: MetaData = parse(path, read(drive, path)?.unwrap_or_else(|| b"{}".to_vec()))?;
    let hostname = meta_data.hostname();
    match &hostname {
        Some(name) => files::write_hostname(host, name)?,
        None => log.say("the config drive gives no usable host name"),
    }
    let keys = meta_data.keys();
    if !keys.is_empty() {
        files::add_authorized_keys(host, &keys)?;
    }
    log.say(format_args!("{} ssh keys", keys.len()));
    let path = "openstack/latest/network_data.json";
    match read(drive, path)? {
        Some(bytes) => {
            let network = NetworkData::parse(&parse(path, bytes)?)?;
            let units = render(&network)?;
            files::write_network(host, &units, &network.nameservers())?;
            let names: Vec<&str> = units.iter().map(|u| u.name.as_str()).collect();
            log.say(format_args!("network: {}", names.join(", ")));
        }
        None => log.say("the config drive says nothing about the network"),
    }
    Ok(Applied { hostname, identity })
}

/// Installs the identity. A drive whose copy was overwritten already, by a first boot that did not
/// get to its end, is passed over when the identity is installed.
fn apply_identity(
    host: &Host,
    drive: &mut Contents,
    log: &Log,
) -> Result<Option<Vec<u8>>, FirstBootError> {
    let Some(bytes) = read(drive, DRIVE_IDENTITY_PATH)? else {
        log.say("the config drive holds no identity for the agent");
        return Ok(None);
    };
    let installed = INSTALLED_IDENTITY_PATH.trim_start_matches('/');
    let erased = bytes.iter().all(|b| *b == 0);
    if erased && host.has(installed) {
        return Ok(None);
    }
    let _: InstalledIdentity = parse(DRIVE_IDENTITY_PATH, bytes.clone())?;
    files::write(host, installed, 0o600, &bytes)?;
    Ok(Some(bytes))
}

/// A file of the drive, or nothing where it is not there.
fn read(drive: &mut Contents, path: &'static str) -> Result<Option<Vec<u8>>, FirstBootError> {
    drive.file(path).map_err(|source| FirstBootError::Read { path, source })
}

fn parse<T: serde::de::DeserializeOwned>(
    path: &'static str,
    bytes: Vec<u8>,
) -> Result<T, FirstBootError> {
    serde_json::from_slice(&bytes).map_err(|e| FirstBootError::Syntax {
        path,
        line: e.line(),
        column: e.column(),
    })
}

#[cfg(test)]
mod tests;
