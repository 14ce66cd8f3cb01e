//! Get System Info Parameters (section 22.14b): what runs on the machine.

use super::layout::{command, message};

message!(exact Request, "Get System Info Parameters request" {
    /// Bit 7 of the first asks for the revision only; which.
    parameter: 2,
    /// Set selector.
    set: u8,
    /// Block selector.
    block: u8,
});

message!(open Response, "Get System Info Parameters response" {
    /// 0x11.
    revision: u8,
    /// The value.
    data: rest,
});

command!("Get System Info Parameters", super::NETFN_APP, 0x59);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, operating system",
        &[0x00, 0x03, 0x00, 0x00],
        Request { parameter: [0x00, 0x03], set: 0x0, block: 0x0 },
    )]
}
