//! Set BMC Global Enables (section 22.1): switches what the controller does.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set BMC Global Enables request" {
    /// Bit 3 logs system events.
    flags: u8,
});

empty_message!(
    /// Done.
    Response,
    "Set BMC Global Enables response"
);

command!("Set BMC Global Enables", super::NETFN_APP, 0x2e);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x08], Request { flags: 0x8 })]
}
