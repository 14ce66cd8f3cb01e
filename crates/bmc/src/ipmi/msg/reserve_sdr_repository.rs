//! Reserve SDR Repository (section 33.11): takes a number for partial reads.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Reserve SDR Repository request"
);

message!(open Response, "Reserve SDR Repository response" {
    /// The number to show.
    reservation: u16,
});

command!("Reserve SDR Repository", super::NETFN_STORAGE, 0x22);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x01, 0x00], Response { reservation: 0x1 })]
}
