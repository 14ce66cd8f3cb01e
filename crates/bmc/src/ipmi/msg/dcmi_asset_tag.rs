//! Get Asset Tag (section DCMI 1.5, 6.4.2): the asset tag.

use super::layout::{command, message};

message!(exact Request, "Get Asset Tag request" {
    /// 0xdc.
    group: u8,
    /// Where to start.
    offset: u8,
    /// At most sixteen.
    count: u8,
});

message!(open Response, "Get Asset Tag response" {
    /// 0xdc.
    group: u8,
    /// Of the whole.
    length: u8,
    /// The part.
    data: rest,
});

command!("Get Asset Tag", super::NETFN_GROUP, 0x06);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0xdc, 0x00, 0x10], Request { group: 0xdc, offset: 0x0, count: 0x10 })]
}
