//! Platform Event (section 29.3): takes an event of somebody else.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Platform Event request" {
    /// Revision, sensor type, sensor, direction and type, three bytes of data; a generator before them from some.
    event: rest,
});

empty_message!(
    /// Done.
    Response,
    "Platform Event response"
);

command!("Platform Event", super::NETFN_SENSOR, 0x02);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, event 1",
        &[0x04, 0x01, 0x30, 0x01, 0x09, 0xff, 0xff],
        Request { event: vec![0x04, 0x01, 0x30, 0x01, 0x09, 0xff, 0xff] },
    )]
}
