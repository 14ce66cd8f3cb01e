//! Get Sensor Reading Factors (section 35.5): how a reading becomes a value.

use super::layout::{command, message};

message!(exact Request, "Get Sensor Reading Factors request" {
    /// Its number.
    sensor: u8,
    /// For which reading.
    reading: u8,
});

message!(open Response, "Get Sensor Reading Factors response" {
    /// The next reading with other factors.
    next: u8,
    /// M, B and exponents as in a record.
    factors: 6,
});

command!("Get Sensor Reading Factors", super::NETFN_SENSOR, 0x23);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x02, 0x00], Request { sensor: 0x2, reading: 0x0 })]
}
