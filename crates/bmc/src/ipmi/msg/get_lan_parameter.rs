//! Get LAN Configuration Parameters (section 23.2): how a LAN channel is configured.

use super::layout::{command, message};

message!(exact Request, "Get LAN Configuration Parameters request" {
    /// Which; bit 7 asks for the revision only.
    channel: u8,
    /// Which.
    parameter: u8,
    /// Set selector.
    set: u8,
    /// Block selector.
    block: u8,
});

message!(open Response, "Get LAN Configuration Parameters response" {
    /// 0x11.
    revision: u8,
    /// The value.
    data: rest,
});

command!("Get LAN Configuration Parameters", super::NETFN_TRANSPORT, 0x02);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, address",
        &[0x01, 0x03, 0x00, 0x00],
        Request { channel: 0x1, parameter: 0x3, set: 0x0, block: 0x0 },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x11, 0x7f, 0x00, 0x00, 0x01],
        Response { revision: 0x11, data: vec![0x7f, 0x00, 0x00, 0x01] },
    )]
}
