//! A read-only TFTP server for the two programs that plain firmware loads. It serves a fixed table
//! of names, never a path.
//!
//! [`packet`] is the codec, [`transfer`] the protocol without sockets, [`server`] the sockets.

mod packet;
mod server;
mod transfer;

pub(crate) use server::{Tftp, serve};

/// Decodes one datagram as the server does, for the fuzzer.
#[doc(hidden)]
pub fn decode_any(bytes: &[u8]) {
    if let Some(Ok(request)) = packet::read_request(bytes) {
        let _ = request.options.oack(0);
    }
    let _ = packet::read_from_client(bytes);
}
