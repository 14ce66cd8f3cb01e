//! Get User Name (section 22.29): the name of a user.

use super::layout::{command, message};

message!(exact Request, "Get User Name request" {
    /// Which slot (6 bits).
    user: u8,
});

message!(open Response, "Get User Name response" {
    /// Filled with zeros.
    name: 16,
});

command!("Get User Name", super::NETFN_APP, 0x46);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { user: 0x2 })]
}
