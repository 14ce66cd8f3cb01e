//! A read-only TFTP server for the two programs that plain firmware loads. It serves a fixed table
//! of names, never a path.
//!
//! [`packet`] is the codec, [`transfer`] the protocol without sockets, [`server`] the sockets.

mod packet;
mod server;
mod transfer;

pub(crate) use {
    packet::read_from_client as from_client,
    server::{Tftp, serve},
    transfer::{State as TransferState, Transfer},
};

/// What a client's request agrees to, if it is one.
pub(crate) fn agreed(request: &[u8]) -> Option<packet::Agreed> {
    packet::read_request(request)?.ok().map(|request| request.options)
}

/// Decodes one datagram as the server does, for the fuzzer.
pub(crate) fn decode_any(bytes: &[u8]) {
    if let Some(Ok(request)) = packet::read_request(bytes) {
        let _ = request.options.oack(0);
    }
    let _ = packet::read_from_client(bytes);
}
