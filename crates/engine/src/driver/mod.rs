//! What drives BMCs: one module for each protocol.

pub mod ipmi;

pub use ipmi::IpmiFactory;
