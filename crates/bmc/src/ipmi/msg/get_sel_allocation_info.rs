//! Get SEL Allocation Info (section 31.3): how the event log is divided.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get SEL Allocation Info request"
);

message!(open Response, "Get SEL Allocation Info response" {
    /// Allocation units there are.
    units: u16,
    /// Size of one.
    unit_bytes: u16,
    /// Free ones.
    free_units: u16,
    /// Largest free block.
    largest_free: u16,
    /// Largest record, in units.
    largest_record: u8,
});

command!("Get SEL Allocation Info", super::NETFN_STORAGE, 0x41);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x00, 0x02, 0x10, 0x00, 0xfe, 0x01, 0xfe, 0x01, 0x01],
        Response {
            units: 0x200,
            unit_bytes: 0x10,
            free_units: 0x1fe,
            largest_free: 0x1fe,
            largest_record: 0x1,
        },
    )]
}
