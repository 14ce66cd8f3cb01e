//! Set User Payload Access (section 24.6): lets a user use payloads.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set User Payload Access request" {
    /// Which (4 bits).
    channel: u8,
    /// Which slot (6 bits); bit 6 takes away.
    user: u8,
    /// Standard and OEM payloads, by bits.
    payloads: 4,
});

empty_message!(
    /// Done.
    Response,
    "Set User Payload Access response"
);

command!("Set User Payload Access", super::NETFN_APP, 0x4c);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x02, 0x02, 0x00, 0x00, 0x00],
        Request { channel: 0x1, user: 0x2, payloads: [0x02, 0x00, 0x00, 0x00] },
    )]
}
