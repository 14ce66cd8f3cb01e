//! Disk images: built from packages or imported, kept by digest, written to a machine's disk.
//!
//! Two halves. The small one serves the agent too and does no network I/O: [`gpt`], [`configdrive`],
//! [`cpio`], [`deploy_iso`], [`iso9660`], [`frames`], [`write`], [`blob`], [`catalog`] and [`oci`]. The other, behind the feature
//! `build`, makes images with child processes ([`build`], [`container`]) and takes ready-made ones in
//! ([`import`]).
//! This crate knows no node, no database and no clock: whoever calls passes the time in.

pub mod blob;
#[cfg(feature = "build")]
pub mod build;
pub mod catalog;
pub mod configdrive;
#[cfg(feature = "build")]
pub mod container;
pub mod cpio;
pub mod deploy_iso;
pub mod frames;
pub mod gpt;
mod hashing;
#[cfg(feature = "build")]
pub mod import;
pub mod iso9660;
pub mod oci;
pub mod tar;
pub mod write;

pub use hashing::{HashingReader, digest_of};
