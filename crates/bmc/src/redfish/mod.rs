//! Redfish (DSP0266), both halves: a service for any number of machines, and a client.
//!
//! [`server`] shows each [`crate::machine::Machine`] as a computer system, a chassis and a
//! manager of the same id; [`link`] is one connection out. Neither knows IPMI: what both protocols
//! share is the machine and its [`crate::accounts`].

pub mod client;
pub mod link;
pub mod server;
