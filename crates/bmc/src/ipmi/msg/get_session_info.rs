//! Get Session Info (section 22.20): who is logged in.

use super::layout::{command, message};

message!(exact Request, "Get Session Info request" {
    /// 0 this one, 0xfe by handle, 0xff by number, else the n-th.
    index: u8,
    /// Handle or number.
    which: rest,
});

message!(open Response, "Get Session Info response" {
    /// 0 when there is none.
    handle: u8,
    /// How many there can be (6 bits).
    possible: u8,
    /// How many there are (6 bits).
    active: u8,
    /// User, level, channel, IPv4 address, MAC address, port.
    session: rest,
});

command!("Get Session Info", super::NETFN_APP, 0x3d);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made, first", &[0x01], Request { index: 0x1, which: vec![] })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification, none",
        &[0x00, 0x3f, 0x00],
        Response { handle: 0x0, possible: 0x3f, active: 0x0, session: vec![] },
    )]
}
