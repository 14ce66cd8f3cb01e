//! Delete SEL Entry (section 31.8): removes an event.

use super::layout::{command, message};

message!(exact Request, "Delete SEL Entry request" {
    /// The number that Reserve SEL gave.
    reservation: u16,
    /// 0 the first, 0xffff the last.
    record: u16,
});

message!(open Response, "Delete SEL Entry response" {
    /// Which one is gone.
    record: u16,
});

command!("Delete SEL Entry", super::NETFN_STORAGE, 0x46);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x01, 0x00, 0x03, 0x00], Request { reservation: 0x1, record: 0x3 })]
}
