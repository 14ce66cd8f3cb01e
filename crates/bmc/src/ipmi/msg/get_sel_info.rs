//! Get SEL Info (section 31.2): how full the event log is.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get SEL Info request"
);

message!(open Response, "Get SEL Info response" {
    /// 0x51 for this specification.
    version: u8,
    /// How many there are.
    entries: u16,
    /// Room that is left.
    free_bytes: u16,
    /// When one was added.
    last_add: u32,
    /// When one was removed.
    last_erase: u32,
    /// Bit 7 overflow, 3 delete, 1 reserve, 0 allocation information.
    flags: u8,
});

command!("Get SEL Info", super::NETFN_STORAGE, 0x40);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x51, 0x02, 0x00, 0xe0, 0x1f, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a],
        Response {
            version: 0x51,
            entries: 0x2,
            free_bytes: 0x1fe0,
            last_add: 0x10,
            last_erase: 0x0,
            flags: 0xa,
        },
    )]
}
