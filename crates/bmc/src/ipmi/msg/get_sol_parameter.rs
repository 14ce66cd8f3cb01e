//! Get SOL Configuration Parameters (section 26.3): how Serial over LAN is configured.

use super::layout::{command, message};

message!(exact Request, "Get SOL Configuration Parameters request" {
    /// Which; bit 7 asks for the revision only.
    channel: u8,
    /// Which.
    parameter: u8,
    /// Set selector.
    set: u8,
    /// Block selector.
    block: u8,
});

message!(open Response, "Get SOL Configuration Parameters response" {
    /// 0x11.
    revision: u8,
    /// The value.
    data: rest,
});

command!("Get SOL Configuration Parameters", super::NETFN_TRANSPORT, 0x22);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x01, 0x00, 0x00],
        Request { channel: 0x1, parameter: 0x1, set: 0x0, block: 0x0 },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x11, 0x01], Response { revision: 0x11, data: vec![0x01] })]
}
