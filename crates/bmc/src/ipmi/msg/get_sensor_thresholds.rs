//! Get Sensor Thresholds (section 35.9): at which readings a sensor warns.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Thresholds request" {
    /// Its number.
    sensor: u8,
});

message!(open Response, "Get Sensor Thresholds response" {
    /// Which of them hold, lowest bit first.
    readable: u8,
    /// Lower non-critical, critical, non-recoverable; upper ones the same.
    thresholds: 6,
});

command!("Get Sensor Thresholds", super::NETFN_SENSOR, 0x27);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { sensor: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "hand-made",
        &[0x18, 0x00, 0x00, 0x00, 0x5f, 0x63, 0x00],
        Response { readable: 0x18, thresholds: [0x00, 0x00, 0x00, 0x5f, 0x63, 0x00] },
    )]
}
