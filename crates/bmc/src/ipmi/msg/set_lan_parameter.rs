//! Set LAN Configuration Parameters (section 23.1): configures a LAN channel.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set LAN Configuration Parameters request" {
    /// Which (4 bits).
    channel: u8,
    /// Which.
    parameter: u8,
    /// The value.
    data: rest,
});

empty_message!(
    /// Done.
    Response,
    "Set LAN Configuration Parameters response"
);

command!("Set LAN Configuration Parameters", super::NETFN_TRANSPORT, 0x01);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x00, 0x01],
        Request { channel: 0x1, parameter: 0x0, data: vec![0x01] },
    )]
}
