//! The agent: what runs on a machine, in the ramdisk and in the installed system.
//!
//! One static program with three uses, chosen by how it is started:
//!
//! - as `/init` of the ramdisk ([`init`]): mounts, loads modules, brings up one interface, says
//!   hello and does the daemon's steps;
//! - `first-boot` ([`first_boot`]): once in the installed system, before the network: reads the
//!   config drive;
//! - `run` ([`installed`]): the installed system's service.
//!
//! All of it is synchronous. The daemon is never trusted further than needed: replies are bounded,
//! every request has a deadline, only our CA is believed, and no name that came over the network
//! becomes a path.

pub mod client;
pub mod cloud;
pub mod container;
pub mod device;
pub mod first_boot;
pub mod init;
pub mod inspect;
pub mod installed;
pub mod log;
pub mod session;
pub mod steps;
pub mod sys;

/// This build's version, for the daemon's log.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
