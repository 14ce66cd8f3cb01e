//! What `bmc add|delete|list|show|start|stop` take.

use std::net::IpAddr;

use clap::Args;

/// What `bmc add` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BmcAddArgs {
    /// The domain: its name or its UUID.
    #[arg(allow_hyphen_values = true)]
    pub(crate) domain: String,
    /// The BMC's port (UDP); a free one if none is given.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Where the BMC listens. Anything but loopback can be reached by others.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// Which libvirt has the domain.
    #[arg(long, value_name = "URI", default_value = "qemu:///system")]
    pub(crate) libvirt_uri: String,
    /// The BMC's user. Its password is made here.
    #[arg(long, default_value = "admin")]
    pub(crate) username: String,
}

/// One or more domains.
#[derive(Debug, Clone, Args)]
pub(crate) struct BmcDomains {
    /// Names or UUIDs.
    #[arg(required = true, allow_hyphen_values = true)]
    pub(crate) domains: Vec<String>,
}
