//! libvirt's domains as machines behind a virtual BMC.
//!
//! The crate knows no daemon and no command line: it makes of a domain something that
//! [`undercloud_bmc`] can serve. libvirt itself is spoken to by its own client, `virsh`:
//!
//! ```text
//! Connection ── one `virsh event` for as long as it lives ──▶ power, as observed
//!     │     └── `virsh list` when that has begun to listen, and whenever domains come and go
//!     ▼
//!  Domain  ──── a `virsh` child for each thing that is done or read; none for a power status
//! ```
//! Arguments go to it as they are, without a shell, and a domain is always named by its UUID: its
//! name and its definition are somebody else's words until [`xml`] and [`virsh`] have read them.
//!
//! Boot flags live in the domain's own definition ([`xml::boot`]), so that nothing has to be kept
//! in step with it.

mod connection;
mod console;
mod domain;
mod error;
pub mod fuzz;
mod uri;
mod virsh;
mod xml;

pub use connection::{Connection, Found};
pub use domain::{Domain, Images};
pub use error::LibvirtError;
pub use uri::ConnectUri;
