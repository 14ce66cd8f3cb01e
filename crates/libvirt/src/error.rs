//! What can go wrong between us and libvirt.

use std::io;

use thiserror::Error;
use undercloud_bmc::{machine::MachineError, redfish::link::FetchError};
use undercloud_model::ErrorKind;

use crate::{ConnectUri, virsh::POOL, xml::XmlError};

/// Why libvirt did not do it.
#[derive(Debug, Error)]
pub enum LibvirtError {
    /// It cannot be a connection URI.
    #[error("`{uri}` is no libvirt connection URI")]
    Uri {
        /// What was given.
        uri: String,
    },
    /// `virsh` cannot be started.
    #[error("cannot start virsh, libvirt's client")]
    NoVirsh(#[source] io::Error),
    /// Nobody answers there.
    #[error("libvirt at {uri} is not reachable: {said}")]
    Unreachable {
        /// Where.
        uri: ConnectUri,
        /// What `virsh` said.
        said: String,
    },
    /// It was tried, and refused.
    #[error("libvirt refused `{command}`: {said}")]
    Refused {
        /// The command of `virsh`.
        command: &'static str,
        /// What `virsh` said.
        said: String,
    },
    /// There was no answer in time.
    #[error("libvirt at {uri} did not answer `{command}` within {seconds} s")]
    Slow {
        /// Where.
        uri: ConnectUri,
        /// The command of `virsh`.
        command: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The answer is not what it should be.
    #[error("libvirt's answer to `{command}` cannot be read")]
    Garbled {
        /// The command of `virsh`.
        command: &'static str,
    },
    /// The domain's definition cannot be used.
    #[error("the domain's definition")]
    Definition(#[source] XmlError),
    /// It has no place for images.
    #[error("libvirt at {uri} has no running storage pool `{POOL}` to keep images in")]
    NoPool {
        /// Where.
        uri: ConnectUri,
    },
    /// An image could not be fetched.
    #[error("cannot fetch the image")]
    Fetch(#[source] FetchError),
    /// An image could not be kept until libvirt has it.
    #[error("cannot keep the image in {folder}")]
    Keep {
        /// Where.
        folder: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A power cycle is not begun where it could not be finished after a crash.
    #[error("cannot write down in {path} that the domain is being restarted")]
    Intent {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such domain.
    #[error("libvirt at {uri} has no persistent domain `{name}`")]
    NoDomain {
        /// Where.
        uri: ConnectUri,
        /// Which.
        name: String,
        /// Names that may be meant.
        nearest: Vec<String>,
    },
}

impl LibvirtError {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Uri { .. } | Self::Definition(_) => ErrorKind::Invalid,
            Self::NoVirsh(_)
            | Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::NoPool { .. }
            | Self::Fetch(_)
            | Self::Keep { .. }
            | Self::Intent { .. } => ErrorKind::Unavailable,
            Self::Refused { .. } => ErrorKind::Conflict,
            Self::Garbled { .. } => ErrorKind::Bug,
            Self::NoDomain { .. } => ErrorKind::NotFound,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Uri { .. } => Some("for example qemu:///system".to_owned()),
            Self::NoVirsh(_) => Some("apt-get install libvirt-clients".to_owned()),
            Self::Unreachable { uri, .. } => Some(uri.remedy()),
            Self::NoPool { uri } => {
                Some(format!("virsh -c '{uri}' pool-create-as {POOL} dir --target DIRECTORY"))
            }
            Self::NoDomain { nearest, uri, .. } if nearest.is_empty() => {
                Some(format!("virsh -c '{uri}' list --all"))
            }
            Self::NoDomain { nearest, .. } => Some(format!("did you mean {}?", nearest.join(", "))),
            Self::Refused { .. }
            | Self::Slow { .. }
            | Self::Garbled { .. }
            | Self::Fetch(_)
            | Self::Keep { .. }
            | Self::Intent { .. }
            | Self::Definition(_) => None,
        }
    }

    /// What a client of the BMC is told.
    pub(crate) fn into_machine_error(self) -> MachineError {
        match self {
            // As while a real controller reaches its machine for a moment not: asked again soon.
            Self::Unreachable { .. } | Self::Slow { .. } => MachineError::Busy,
            Self::Definition(XmlError::CannotBoot { .. }) => MachineError::Unsupported,
            other => {
                let hint = other.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                MachineError::Failed(chain(&other) + &hint)
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
