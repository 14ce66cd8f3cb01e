//! Get Sensor Event Enable (section 35.11): which events a sensor makes.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Event Enable request" {
    /// Its number.
    sensor: u8,
});

message!(open Response, "Get Sensor Event Enable response" {
    /// Bit 7 events, bit 6 scanning.
    flags: u8,
    /// Which events.
    masks: rest,
});

command!("Get Sensor Event Enable", super::NETFN_SENSOR, 0x29);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { sensor: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x40], Response { flags: 0x40, masks: vec![] })]
}
