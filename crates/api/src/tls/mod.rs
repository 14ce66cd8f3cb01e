//! Our certificate authority and the servers' certificates. rustls with *ring*, TLS 1.2 and 1.3.
//!
//! The authority is made once in the state directory and never replaced: its certificate is inside
//! every ramdisk, every installed machine and the users' configurations. A server's certificate is
//! made anew when its names change, when less than a third of its life is left, or when the
//! authority is another one.

mod authority;
mod file;
mod server;

pub use authority::{Authority, Issued};
pub use file::TlsError;
pub use server::{Server, ServerName};
