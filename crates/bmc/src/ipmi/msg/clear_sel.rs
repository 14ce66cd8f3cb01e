//! Clear SEL (section 31.9): removes every event.

use super::layout::{command, message};

message!(exact Request, "Clear SEL request" {
    /// The number that Reserve SEL gave.
    reservation: u16,
    /// `CLR`.
    letters: 3,
    /// 0xaa starts, 0 asks.
    action: u8,
});

message!(open Response, "Clear SEL response" {
    /// 1 when it is done (4 bits).
    progress: u8,
});

command!("Clear SEL", super::NETFN_STORAGE, 0x47);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x00, 0x43, 0x4c, 0x52, 0xaa],
        Request { reservation: 0x1, letters: [0x43, 0x4c, 0x52], action: 0xaa },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x01], Response { progress: 0x1 })]
}
