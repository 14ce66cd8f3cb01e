//! The nouns of undercloud: ids, addresses, digests, power, inventories, the agent's protocol,
//! node states and their transitions.
//!
//! Pure: no I/O, no clock, no async, no SQL, no HTTP. Whoever needs one of those takes these types
//! and adds it in a crate of its own (`store` for SQL, `api` for HTTP, `engine` for time).
//! Everything here is parsed at the edge, so that inside nothing has to be checked twice.

pub mod agent;
pub mod ailment;
mod caller;
pub mod consent;
mod content;
mod digest;
mod error_kind;
mod id;
pub mod installation;
pub mod inventory;
mod mac;
mod nearest;
pub mod network_data;
pub mod node;
mod power;
mod root_device;
mod secret;
mod ssh_host_key;
pub mod timeline;

pub use caller::{Caller, NoName, Origin};
pub use content::{Content, Finding, Signature};
pub use digest::{Digest, ParseDigestError};
pub use error_kind::ErrorKind;
pub use id::{NodeId, NodeName, ParseIdError, StepId};
pub use mac::{MacAddr, ParseMacError};
pub use nearest::nearest;
pub use power::{BootDevice, BootMode, PowerAction, PowerState};
pub use root_device::{RootDeviceError, RootDeviceHints, choose_root_device};
pub use secret::{Secret, expose_on_the_wire};
pub use ssh_host_key::{ParseSshHostKeyError, SshHostKey};

/// Milliseconds since 1970-01-01T00:00:00Z. Time is always passed in; see the binary's clock.
pub type UnixMillis = i64;
