//! Get User Payload Access (section 24.7): which payloads a user may use.

use super::layout::{command, message};

message!(exact Request, "Get User Payload Access request" {
    /// Which (4 bits).
    channel: u8,
    /// Which slot (6 bits).
    user: u8,
});

message!(open Response, "Get User Payload Access response" {
    /// Standard and OEM payloads, by bits.
    payloads: 4,
});

command!("Get User Payload Access", super::NETFN_APP, 0x4d);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x01, 0x02], Request { channel: 0x1, user: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x02, 0x00, 0x00, 0x00], Response { payloads: [0x02, 0x00, 0x00, 0x00] })]
}
