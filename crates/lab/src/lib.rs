//! Virtual machines and their networks on this host.
//!
//! A lab is a set of QEMU machines with empty disks in a network namespace of its own. To the rest
//! of undercloud such a machine is hardware: it has power, a boot order and a serial console, and
//! whoever dresses it with a BMC uses [`Machine`] for nothing else. This crate knows neither BMCs
//! nor nodes nor the database.
//!
//! - [`LabConfig`]: what a person writes in `lab.toml`.
//! - [`Lab`]: creates, opens, starts, stops and deletes a lab; everything is named after the state
//!   directory ([`LabNames`]), so that two labs never meet.
//! - [`Machine`]: one machine: observed power, power actions, boot flags, events.
//! - [`network`] and [`namespace`]: the lab's network, and sockets opened inside it;
//!   [`uplink`]: the host's own way into it.
//! - [`probe`]: does hardware virtualisation work? Found out by running a guest.
//! - [`qmp`]: QEMU's control protocol; the codec does no I/O.
//! - [`console`], [`instackenv`]: the serial console for a person; the list of machines in
//!   TripleO's format.

mod command;
pub mod config;
pub mod console;
mod error;
mod firewall;
mod firmware;
mod host_memory;
pub mod instackenv;
mod lab;
pub mod machine;
mod names;
pub mod namespace;
pub mod network;
mod option_rom;
pub mod probe;
pub mod qmp;
pub mod uplink;

pub use config::{ConfigError, LabConfig, MachineConfig, MachineKind, NetworkConfig, NetworkName};
pub use error::LabError;
pub use firmware::QemuFiles;
pub use host_memory::MemoryNeed;
pub use lab::{Lab, LabOptions, definitions};
pub use machine::{
    BootFlags, BootReadback, DiskDefinition, InsertedMedia, Machine, MachineDefinition,
    MachineEvent, MachineReadings, MachineStatus, MediaDrive, NewMedia, NicDefinition,
    PowerChanges, SerialPort,
};
pub use names::LabNames;
pub use network::Network;
pub use option_rom::OptionRomError;
pub use probe::{Acceleration, Virtualisation, probe_virtualisation};
pub use undercloud_machine::{
    can_carry as can_carry_containers, load_modules as load_modules_for_containers,
};
pub use uplink::HostAccess;
