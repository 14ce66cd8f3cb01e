//! Read FRU Data (section 34.2): reads an inventory.

use super::layout::{command, message};

message!(exact Request, "Read FRU Data request" {
    /// Which FRU.
    device: u8,
    /// Where to start.
    offset: u16,
    /// How many bytes.
    count: u8,
});

message!(open Response, "Read FRU Data response" {
    /// How many follow.
    count: u8,
    /// The bytes.
    data: rest,
});

command!("Read FRU Data", super::NETFN_STORAGE, 0x11);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x00, 0x00, 0x00, 0x08], Request { device: 0x0, offset: 0x0, count: 0x8 })]
}
