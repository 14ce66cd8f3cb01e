//! Network boot on one interface: DHCP, TFTP, HTTP, the router advertisements that iPXE waits for,
//! and the time. Asks one question, [`Boots`]: who is enrolled, and what does it boot now? Every exchange is
//! an event, so that a machine's timeline shows how far it came.
//!
//! ```text
//! BIOS  ── option ROM is iPXE? ── no → TFTP undionly.kpxe ─┐
//! UEFI  ── PXE → TFTP snponly.efi, HTTP boot → snponly.efi ┤
//!            iPXE ←────────────────────────────────────────┘
//!              └ DHCP again → HTTP script → kernel, initrd (identity + ramdisk) → agent
//! ```
//! Or without any of it, by virtual media: BMC → HTTP deploy CD, which the machine starts from.
//!
//! Knows no node, no state and no database. Sockets come from the caller, who opens them where the
//! interface is (see [`NetbootSockets::open`]).

use std::time::Duration;

mod boots;
mod dhcp;
mod events;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod media;
mod ntp;
mod rate;
mod routers;
mod sockets;
mod start;
mod tftp;

pub use boots::{
    BlobSource, BootEvent, BootEventKind, BootTarget, BootToken, BootTokenError, Boots, Lease,
    MediaTarget, Segment,
};
pub use dhcp::{Answer, Client, Query};
pub use media::MediaServer;
pub use ntp::{HostClock, HostTime, STRATUM_ALONE};
pub use sockets::{NetbootSockets, OpenError, Opened, Place, RouterSocket, TransferSockets};
pub use start::{
    Begin, BootFileError, BootFiles, Netboot, NetbootConfig, NetbootError, Parts, ROUTERS, Running,
    TIME, WATCH,
};

/// How long [`Boots`] may take to answer: firmware asks again after one to four seconds.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// iPXE for BIOS, which uses the ROM's own network driver.
pub(crate) const UNDIONLY: &str = "undionly.kpxe";
/// iPXE for UEFI, which uses the firmware's own network driver.
pub(crate) const SNPONLY: &str = "snponly.efi";
/// What iPXE for UEFI looks for beside itself before it does anything else. Without it, it waits two
/// seconds for somebody to press a key, and then does just this.
pub(crate) const AUTOEXEC: (&str, &str) = ("autoexec.ipxe", "#!ipxe\nautoboot || exit 1\n");

/// How long transfers under way have when the servers end.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);
