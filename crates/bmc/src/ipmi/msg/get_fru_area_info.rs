//! Get FRU Inventory Area Info (section 34.1): how large an inventory is.

use super::layout::{command, message};

message!(exact Request, "Get FRU Inventory Area Info request" {
    /// Which FRU.
    device: u8,
});

message!(open Response, "Get FRU Inventory Area Info response" {
    /// Bytes there are.
    size: u16,
    /// Bit 0 by words.
    access: u8,
});

command!("Get FRU Inventory Area Info", super::NETFN_STORAGE, 0x10);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x00], Request { device: 0x0 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x80, 0x00, 0x00], Response { size: 0x80, access: 0x0 })]
}
