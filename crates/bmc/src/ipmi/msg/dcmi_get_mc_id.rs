//! Get Management Controller Identifier String (section DCMI 1.5, 6.4.6.1): the name of the controller.

use super::layout::{command, message};

message!(exact Request, "Get Management Controller Identifier String request" {
    /// 0xdc.
    group: u8,
    /// Where to start.
    offset: u8,
    /// At most sixteen.
    count: u8,
});

message!(open Response, "Get Management Controller Identifier String response" {
    /// 0xdc.
    group: u8,
    /// Of the whole, with the zero at its end.
    length: u8,
    /// The part.
    data: rest,
});

command!("Get Management Controller Identifier String", super::NETFN_GROUP, 0x09);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0xdc, 0x00, 0x10], Request { group: 0xdc, offset: 0x0, count: 0x10 })]
}
