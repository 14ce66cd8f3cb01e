//! Get Sensor Event Status (section 35.13): which events of a sensor hold.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Event Status request" {
    /// Its number.
    sensor: u8,
});

message!(open Response, "Get Sensor Event Status response" {
    /// Bit 7 events, bit 6 scanning.
    flags: u8,
    /// Which events hold.
    states: rest,
});

command!("Get Sensor Event Status", super::NETFN_SENSOR, 0x2b);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { sensor: 0x2 })]
}
