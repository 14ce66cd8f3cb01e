//! Set User Name (section 22.28): names a user.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set User Name request" {
    /// Which slot (6 bits).
    user: u8,
    /// Filled with zeros.
    name: 16,
});

empty_message!(
    /// Done.
    Response,
    "Set User Name response"
);

command!("Set User Name", super::NETFN_APP, 0x45);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, tester",
        &[
            0x09, 0x74, 0x65, 0x73, 0x74, 0x65, 0x72, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00,
        ],
        Request {
            user: 0x9,
            name: [
                0x74, 0x65, 0x73, 0x74, 0x65, 0x72, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                0x00, 0x00,
            ],
        },
    )]
}
