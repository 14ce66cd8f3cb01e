//! Get DCMI Capabilities Info (section DCMI 1.5, 6.1): what of DCMI there is.

use super::layout::{command, message};

message!(exact Request, "Get DCMI Capabilities Info request" {
    /// 0xdc.
    group: u8,
    /// Which.
    parameter: u8,
});

message!(open Response, "Get DCMI Capabilities Info response" {
    /// 0xdc.
    group: u8,
    /// 1, 5, and 2 for the parameters.
    version: 3,
    /// The value.
    data: rest,
});

command!("Get DCMI Capabilities Info", super::NETFN_GROUP, 0x01);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0xdc, 0x01], Request { group: 0xdc, parameter: 0x1 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0xdc, 0x01, 0x05, 0x02, 0x00, 0x00, 0x00],
        Response { group: 0xdc, version: [0x01, 0x05, 0x02], data: vec![0x00, 0x00, 0x00] },
    )]
}
