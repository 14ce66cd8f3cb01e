//! Set SOL Configuration Parameters (section 26.2): configures Serial over LAN.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set SOL Configuration Parameters request" {
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
    "Set SOL Configuration Parameters response"
);

command!("Set SOL Configuration Parameters", super::NETFN_TRANSPORT, 0x21);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x00, 0x01],
        Request { channel: 0x1, parameter: 0x0, data: vec![0x01] },
    )]
}
