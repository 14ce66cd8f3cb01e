//! Network boot on one interface: DHCP, TFTP, HTTP and the router advertisements that iPXE waits
//! for. Asks one question, [`Boots`]: who is enrolled, and what does it boot now? Every exchange is
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

use std::{io, time::Duration};

mod boots;
mod dhcp;
mod events;
mod http;
mod media;
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
pub use media::{MediaHandle, MediaServer};
pub use sockets::{NetbootSockets, OpenError, Place, RouterSocket, TransferSockets};
pub use start::{BootFileError, BootFiles, Netboot, NetbootConfig, NetbootError, NetbootHandle};

/// For fuzz targets.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::{dhcp::decode_any as dhcp, tftp::decode_any as tftp};
}

/// How long [`Boots`] may take to answer: firmware asks again after one to four seconds.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// iPXE for BIOS, which uses the ROM's own network driver.
pub(crate) const UNDIONLY: &str = "undionly.kpxe";
/// iPXE for UEFI, which uses the firmware's own network driver.
pub(crate) const SNPONLY: &str = "snponly.efi";
/// What iPXE for UEFI looks for beside itself before it does anything else. Without it, it waits two
/// seconds for somebody to press a key, and then does just this.
pub(crate) const AUTOEXEC: (&str, &str) = ("autoexec.ipxe", "#!ipxe\nautoboot || exit 1\n");

/// Whether a socket that gave this error goes on working: an ICMP answer to an earlier packet, an
/// interface that is down, a connection that ended before it was accepted.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::HostUnreachable
            | E::NetworkUnreachable
            | E::NetworkDown
            | E::Interrupted
            | E::WouldBlock
    )
}
