//! Set User Password (section 22.30): sets or tests a password, and lets a user in or not.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set User Password request" {
    /// Which slot (6 bits); bit 7: 20 bytes.
    user: u8,
    /// 0 disable, 1 enable, 2 set, 3 test.
    operation: u8,
    /// Filled with zeros.
    password: rest,
});

empty_message!(
    /// Done.
    Response,
    "Set User Password response"
);

command!("Set User Password", super::NETFN_APP, 0x47);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, enable",
        &[0x09, 0x01],
        Request { user: 0x9, operation: 0x1, password: vec![] },
    )]
}
