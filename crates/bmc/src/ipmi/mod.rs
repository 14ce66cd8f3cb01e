//! IPMI 2.0: what both halves share, and the two halves.
//!
//! Bottom up: [`wire`] reads and writes fields, [`msg`] holds one message per file, [`packet`]
//! frames and seals them, [`session`] is the server's side of RMCP+ as a value without a socket
//! or a clock, [`sol`] is either end of a serial line over it, [`command`] answers what a session delivers, [`server`] and [`client`] are the
//! thin shells that own a socket each.

pub mod client;
pub mod command;
pub mod completion;
pub mod crypto;
pub mod msg;
pub mod packet;
pub mod rakp;
pub mod random;
pub mod record;
mod serial_port;
pub mod server;
pub mod session;
pub mod sol;
pub mod suite;
pub mod wire;

use crate::{credentials, guid, machine, privilege};
