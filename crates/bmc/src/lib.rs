//! Baseboard controllers, both halves: IPMI 2.0 over RMCP+, and Redfish.
//!
//! The crate knows no node, no database and no hypervisor. The server half speaks for anything
//! that implements [`machine::Machine`]; the client half drives any baseboard controller that
//! offers IPMI cipher suite 17 or 3, or Redfish. Specification of the first: *IPMI v2.0, revision
//! 1.1 with errata 7*; the section numbers in the comments are those of that document.
//!
//! [`machine`] is what a controller needs of the machine behind it, [`accounts`] who may log in,
//! [`memory`] what it keeps: both protocols share them, and of the client half [`governor`], how
//! much a controller is asked, and [`keeper`], who keeps sessions.

pub mod accounts;
pub mod credentials;
pub mod failures;
pub mod fleet;
pub mod governor;
pub mod guid;
pub mod handle;
pub mod ipmi;
pub mod keeper;
pub mod mac;
pub mod machine;
pub mod memory;
pub mod privilege;
pub mod probe;
pub mod redfish;
