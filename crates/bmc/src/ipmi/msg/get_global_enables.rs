//! Get BMC Global Enables (section 22.2): what the controller does.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get BMC Global Enables request"
);

message!(open Response, "Get BMC Global Enables response" {
    /// Bit 3 logs system events.
    flags: u8,
});

command!("Get BMC Global Enables", super::NETFN_APP, 0x2f);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x08], Response { flags: 0x8 })]
}
