//! Get SDR Repository Info (section 33.9): how many sensor records there are.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get SDR Repository Info request"
);

message!(open Response, "Get SDR Repository Info response" {
    /// 0x51 for this specification.
    version: u8,
    /// How many there are.
    records: u16,
    /// Room that is left.
    free_bytes: u16,
    /// When one was added.
    last_add: u32,
    /// When one was removed.
    last_erase: u32,
    /// Bit 1 reserve, 0 allocation information.
    flags: u8,
});

command!("Get SDR Repository Info", super::NETFN_STORAGE, 0x20);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x51, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02],
        Response {
            version: 0x51,
            records: 0x9,
            free_bytes: 0x0,
            last_add: 0x0,
            last_erase: 0x0,
            flags: 0x2,
        },
    )]
}
