//! Get PEF Configuration Parameters (section 30.4): how event filters are configured.

use super::layout::{command, message};

message!(exact Request, "Get PEF Configuration Parameters request" {
    /// Which; bit 7 asks for the revision only.
    parameter: u8,
    /// Set selector.
    set: u8,
    /// Block selector.
    block: u8,
});

message!(open Response, "Get PEF Configuration Parameters response" {
    /// 0x11.
    revision: u8,
    /// The value.
    data: rest,
});

command!("Get PEF Configuration Parameters", super::NETFN_SENSOR, 0x13);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, policies",
        &[0x08, 0x00, 0x00],
        Request { parameter: 0x8, set: 0x0, block: 0x0 },
    )]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x11, 0x00], Response { revision: 0x11, data: vec![0x00] })]
}
