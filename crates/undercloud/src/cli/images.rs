//! What `image` and `container` take.

use std::path::PathBuf;

use clap::Subcommand;

/// `undercloud image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build the images from Debian 13 packages. What is in the cache is not built again.
    Build,
    /// Take in a ready-made image, verified before anything else looks at it.
    #[command(visible_alias = "download")]
    Import {
        /// A file, or a URL that begins with http:// or https://.
        source: String,
        /// Its digest; without it a SHA256SUMS must be beside it.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// The name it gets; the file's own if none is given.
        #[arg(long)]
        name: Option<String>,
        /// What it is for.
        #[arg(long, value_enum, default_value_t = ImageKindArg::Disk)]
        kind: ImageKindArg,
    },
    /// List the images.
    List,
    /// Show one image.
    Show {
        /// Its name.
        name: String,
    },
    /// Remove an image.
    Remove {
        /// Its name.
        name: String,
        /// Also if it is installed on nodes: installing them again needs it.
        #[arg(long)]
        force: bool,
    },
}

/// What an imported image is for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ImageKindArg {
    /// A whole disk.
    Disk,
    /// A Linux kernel.
    Kernel,
    /// An initial ramdisk.
    Ramdisk,
}

/// `undercloud container …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Build the container images that a cloud needs, from Debian 13 packages. What is in the cache is
    /// not built again.
    Build {
        /// The cloud, as `undercloud cloud install --file` takes it; without, the lab's.
        #[arg(long, value_name = "FILE")]
        cloud: Option<PathBuf>,
    },
    /// List the container images.
    List,
    /// Show one container image.
    Show {
        /// Its name.
        name: String,
    },
}
