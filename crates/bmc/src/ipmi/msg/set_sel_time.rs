//! Set SEL Time (section 31.11): sets the clock.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set SEL Time request" {
    /// Seconds since 1970.
    time: u32,
});

empty_message!(
    /// Done.
    Response,
    "Set SEL Time response"
);

command!("Set SEL Time", super::NETFN_STORAGE, 0x49);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x80, 0xe2, 0x5f, 0x69], Request { time: 0x695fe280 })]
}
