//! Reserve SEL (section 31.4): takes a number without which nothing is removed.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Reserve SEL request"
);

message!(open Response, "Reserve SEL response" {
    /// The number to show.
    reservation: u16,
});

command!("Reserve SEL", super::NETFN_STORAGE, 0x42);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x01, 0x00], Response { reservation: 0x1 })]
}
