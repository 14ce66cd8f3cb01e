//! Set PEF Configuration Parameters (section 30.3): configures event filters.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set PEF Configuration Parameters request" {
    /// Which (7 bits).
    parameter: u8,
    /// The value.
    data: rest,
});

empty_message!(
    /// Done.
    Response,
    "Set PEF Configuration Parameters response"
);

command!("Set PEF Configuration Parameters", super::NETFN_SENSOR, 0x12);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made", &[0x00, 0x01], Request { parameter: 0x0, data: vec![0x01] })]
}
