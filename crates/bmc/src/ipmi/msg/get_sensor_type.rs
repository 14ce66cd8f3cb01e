//! Get Sensor Type (section 35.16): of which kind a sensor is.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Type request" {
    /// Its number.
    sensor: u8,
});

message!(open Response, "Get Sensor Type response" {
    /// Table 42-3.
    kind: u8,
    /// Table 42-1.
    reading: u8,
});

command!("Get Sensor Type", super::NETFN_SENSOR, 0x2f);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02], Request { sensor: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x07, 0x01], Response { kind: 0x7, reading: 0x1 })]
}
