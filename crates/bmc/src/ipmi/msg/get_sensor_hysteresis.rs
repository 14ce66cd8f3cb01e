//! Get Sensor Hysteresis (section 35.7): how far a reading has to return.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Hysteresis request" {
    /// Its number.
    sensor: u8,
    /// 0xff.
    mask: u8,
});

message!(open Response, "Get Sensor Hysteresis response" {
    /// Going up.
    positive: u8,
    /// Going down.
    negative: u8,
});

command!("Get Sensor Hysteresis", super::NETFN_SENSOR, 0x25);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02, 0xff], Request { sensor: 0x2, mask: 0xff })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x00, 0x00], Response { positive: 0x0, negative: 0x0 })]
}
