//! A machine that is a container on the host's kernel: one process in QEMU's place, with QEMU's
//! sockets, so that whoever minds machines minds both kinds alike.
//!
//! ```text
//! lab ── starts ──► `undercloud machine` ([`board`])           qmp.sock: power, reset, boot order
//!                     │ boots by order: disk, network          serial.sock, console.log
//!                     ├ network: DHCP as iPXE, script, kernel, initrd ([`pxe`], [`script`])
//!                     ├ disk: the partitions of disk.raw as loop devices ([`disk`])
//!                     └ each boot: fresh namespaces, veth cards ([`network`]), limits ([`cgroups`])
//!                          └ process 1 ([`inside`]): mounts, masks, then `/init` or `/sbin/init`
//! ```
//! The machine goes off when its process ends, whatever ended it: process 1 dies with the thread
//! that started it, namespaces and mounts die with process 1, loop devices with their last user.
//! What is left are empty directories of control groups, which [`cgroups::remove`] takes away.
//!
//! **It is no security boundary**: root inside who means harm works on the host's kernel. What
//! keeps accidents inside is listed in `docs/container-machines.md`. What differs from a machine
//! with firmware of its own is known to this crate and to that page alone.

mod board;
mod bpf;
pub mod cgroups;
mod control;
mod disk;
mod error;
mod guest;
mod host;
mod images;
mod initrd;
mod inside;
mod loops;
mod modules;
mod network;
mod pxe;
mod rules;
mod script;
mod serial;
mod settings;

pub use board::run;
pub use error::MachineError;
pub use host::can_carry;
pub use inside::enter;
pub use loops::release;
pub use modules::load_modules;
pub use network::CABLE_MTU;
pub use settings::{Card, Disk, Firmware, Settings};

/// The word by which what runs inside knows where it is: `container=` in the environment of
/// process 1 (systemd, "Container Interface").
pub const CONTAINER: &str = "undercloud";

/// For fuzz targets.
#[doc(hidden)]
pub mod fuzz {
    /// Reads an initial ramdisk into an empty directory.
    pub fn initrd(bytes: &[u8], into: &std::path::Path) {
        let _ = crate::initrd::unpack(bytes, into);
    }
    /// Reads a boot script.
    pub fn script(bytes: &[u8]) {
        let _ = crate::script::read(&String::from_utf8_lossy(bytes));
    }
}
