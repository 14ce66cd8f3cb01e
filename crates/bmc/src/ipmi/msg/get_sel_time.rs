//! Get SEL Time (section 31.10): reads the clock.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get SEL Time request"
);

message!(open Response, "Get SEL Time response" {
    /// Seconds since 1970.
    time: u32,
});

command!("Get SEL Time", super::NETFN_STORAGE, 0x48);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x80, 0xe2, 0x5f, 0x69], Response { time: 0x695fe280 })]
}
