//! Set System Info Parameters (section 22.14a): tells the controller what runs on the machine.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set System Info Parameters request" {
    /// Which.
    parameter: u8,
    /// Set selector, then up to sixteen bytes.
    data: rest,
});

empty_message!(
    /// Done.
    Response,
    "Set System Info Parameters response"
);

command!("Set System Info Parameters", super::NETFN_APP, 0x58);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x00, 0x01], Request { parameter: 0x0, data: vec![0x01] })]
}
