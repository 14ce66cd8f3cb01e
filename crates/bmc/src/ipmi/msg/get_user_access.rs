//! Get User Access (section 22.27): the level of a user.

use super::layout::{command, message};

message!(exact Request, "Get User Access request" {
    /// Which (4 bits).
    channel: u8,
    /// Which slot (6 bits).
    user: u8,
});

message!(open Response, "Get User Access response" {
    /// Slots there are.
    users_max: u8,
    /// How many may log in; bits 7 and 6: 1 this one may, 2 it may not.
    enabled: u8,
    /// How many names never change.
    fixed: u8,
    /// Bit 4 messaging, bits 3 to 0 the level.
    access: u8,
});

command!("Get User Access", super::NETFN_APP, 0x44);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x01, 0x02], Request { channel: 0x1, user: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x10, 0x41, 0x01, 0x14],
        Response { users_max: 0x10, enabled: 0x41, fixed: 0x1, access: 0x14 },
    )]
}
