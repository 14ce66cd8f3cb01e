//! Set User Access (section 22.26): sets the level of a user.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set User Access request" {
    /// Bit 7 changes bits 6 to 4: callback only, link authentication, messaging.
    channel: u8,
    /// Which slot (6 bits).
    user: u8,
    /// Its limit (4 bits).
    privilege: u8,
    /// How many sessions, if it is there.
    limit: rest,
});

empty_message!(
    /// Done.
    Response,
    "Set User Access response"
);

command!("Set User Access", super::NETFN_APP, 0x43);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, user priv 9 3 1",
        &[0x01, 0x09, 0x03],
        Request { channel: 0x1, user: 0x9, privilege: 0x3, limit: vec![] },
    )]
}
