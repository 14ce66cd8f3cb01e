//! Why images could not be built: one sentence each, with what cures it where that is known.

use std::{io, process::ExitStatus};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::ErrorKind;

use super::RecipeError;
use crate::{
    blob::BlobError, container::ContainerfileError, cpio::CpioError, deploy_iso::DeployIsoError,
    gpt::GptError, oci::OciError,
};

/// Why images could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file system refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Too little room.
    #[error("{dir} has {} MiB free, building images takes {} MiB", free >> 20, need >> 20)]
    NoSpace {
        /// Where.
        dir: Utf8PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// Another build is running.
    #[error("another build is using {0}; wait for it to end")]
    Busy(Utf8PathBuf),
    /// The deploy CD cannot be put together.
    #[error("cannot put the deploy CD together")]
    DeployIso(#[source] DeployIsoError),
    /// Programs of the build would take a part of the path for something else.
    #[error(
        "the cache's path {path} holds `{what}`, which {program} takes for something else: choose another with --cache"
    )]
    Path {
        /// The cache's directory.
        path: Utf8PathBuf,
        /// Which part.
        what: char,
        /// For whom.
        program: &'static str,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: is its package installed?")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed ({status}): {said}")]
    Child {
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        said: String,
    },
    /// A program did not end in time.
    #[error("`{program}` did not end within {seconds} s and was stopped")]
    Late {
        /// Which.
        program: String,
        /// Its deadline.
        seconds: u64,
    },
    /// What a program should read could not be given to it.
    #[error("cannot feed `{program}`")]
    Feed {
        /// Which.
        program: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The keys that Debian's archive is signed with are missing.
    #[error("Debian's archive keys are missing: install the package debian-archive-keyring")]
    NoKeyring,
    /// The host's APT configuration leads to no Debian 13.
    #[error(
        "no source of Debian 13 follows from /etc/apt: it must name a Debian archive \
         (suite bookworm or trixie, component main)"
    )]
    NoSource,
    /// The archive could not be read, or its signature is not Debian's.
    #[error("the package archive cannot be used")]
    Archive(#[source] Box<BuildError>),
    /// A data file of ours is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Something that was made, or given, is not what it should be.
    #[error("{0}")]
    Content(&'static str),
    /// A kernel module of the list is not there.
    #[error("the kernel has no module `{0}`, which images/bm-deploy.toml names")]
    NoModule(String),
    /// A boot loader's file is not what it should be.
    #[error("{what}")]
    Grub {
        /// What is wrong.
        what: &'static str,
    },
    /// The ramdisk cannot be written.
    #[error("cannot write the ramdisk")]
    Cpio(#[source] CpioError),
    /// The partition table cannot be made.
    #[error("cannot make the partition table")]
    Table(#[source] GptError),
    /// Packing failed.
    #[error("cannot pack the image")]
    Pack(#[source] io::Error),
    /// The blob store failed.
    #[error("cannot store the image")]
    Blob(#[source] BlobError),
    /// A directory of `containers/` is wrong.
    #[error(transparent)]
    Containerfile(#[from] ContainerfileError),
    /// Podman wrote something else than a container image.
    #[error("podman wrote an image that cannot be used")]
    Oci(#[source] OciError),
    /// A credential of this host would have been published.
    #[error(
        "the {place} of container image {image} hold a credential of this host's APT or proxy \
         settings; it is kept out of the registry"
    )]
    Secret {
        /// Which image.
        image: String,
        /// Where in it.
        place: &'static str,
    },
}

impl BuildError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } | Self::Child { .. } | Self::Late { .. } => {
                ErrorKind::Unavailable
            }
            Self::Start { .. } | Self::Feed { .. } | Self::Archive(_) | Self::Pack(_) => {
                ErrorKind::Unavailable
            }
            Self::Busy(_) => ErrorKind::Busy,
            Self::NoKeyring | Self::NoSource | Self::Content(_) | Self::Oci(_) => {
                ErrorKind::Invalid
            }
            Self::Path { .. } => ErrorKind::Invalid,
            Self::Secret { .. } => ErrorKind::Denied,
            Self::Containerfile(_) => ErrorKind::Invalid,
            Self::Recipe(_) | Self::NoModule(_) | Self::Grub { .. } => ErrorKind::Bug,
            Self::Cpio(_) | Self::Table(_) | Self::DeployIso(_) => ErrorKind::Bug,
            Self::Blob(source) => source.kind(),
        }
    }
}

pub(crate) fn at(
    operation: &'static str,
    path: &Utf8Path,
) -> impl FnOnce(io::Error) -> BuildError + use<> {
    let path = path.to_owned();
    move |source| BuildError::Io { operation, path, source }
}
