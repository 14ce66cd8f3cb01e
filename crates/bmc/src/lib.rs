//! IPMI 2.0 over RMCP+: codecs, sessions, client half and server half.
//!
//! The crate knows no node, no database and no hypervisor. The server half speaks for anything
//! that implements [`ipmi::machine::Machine`]; the client half drives any baseboard controller
//! that offers cipher suite 17 or 3. Specification: *IPMI v2.0, revision 1.1 with errata 7*; the
//! section numbers in the comments are those of that document.

pub mod ipmi;
