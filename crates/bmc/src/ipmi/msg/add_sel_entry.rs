//! Add SEL Entry (section 31.6): writes an event.

use super::layout::{command, message};

message!(exact Request, "Add SEL Entry request" {
    /// The record; its number and time are replaced.
    record: 16,
});

message!(open Response, "Add SEL Entry response" {
    /// Its number.
    record: u16,
});

command!("Add SEL Entry", super::NETFN_STORAGE, 0x44);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x05, 0x00], Response { record: 0x5 })]
}
