//! Get PEF Capabilities (section 30.1): what event filters can do.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get PEF Capabilities request"
);

message!(open Response, "Get PEF Capabilities response" {
    /// 0x51.
    version: u8,
    /// What it can do, by bits.
    actions: u8,
    /// Size of its table.
    filters: u8,
});

command!("Get PEF Capabilities", super::NETFN_SENSOR, 0x10);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x51, 0x00, 0x00], Response { version: 0x51, actions: 0x0, filters: 0x0 })]
}
