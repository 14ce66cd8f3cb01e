//! Get Sensor Reading (section 35.14): what a sensor reads.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Reading request" {
    /// Its number.
    sensor: u8,
});

message!(open Response, "Get Sensor Reading response" {
    /// For analog sensors.
    reading: u8,
    /// Bit 7 events, 6 scanning, 5 unavailable.
    flags: u8,
    /// Thresholds passed, or states that hold.
    states: 2,
});

command!("Get Sensor Reading", super::NETFN_SENSOR, 0x2d);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { sensor: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x2a, 0x40, 0xc0, 0x00],
        Response { reading: 0x2a, flags: 0x40, states: [0xc0, 0x00] },
    )]
}
