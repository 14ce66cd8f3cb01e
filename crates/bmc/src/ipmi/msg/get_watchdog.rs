//! Get Watchdog Timer (section 27.7): how the watchdog is set.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The question.
    Request,
    "Get Watchdog Timer request"
);

message!(open Response, "Get Watchdog Timer response" {
    /// For what; bit 6 it runs.
    usage: u8,
    /// What it does.
    actions: u8,
    /// How long before.
    pretimeout_s: u8,
    /// For what it ran out.
    expired: u8,
    /// From where it counts, in 0.1 s.
    initial: u16,
    /// Where it is.
    present: u16,
});

command!("Get Watchdog Timer", super::NETFN_APP, 0x25);

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification, stopped",
        &[0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
        Response {
            usage: 0x0,
            actions: 0x0,
            pretimeout_s: 0x0,
            expired: 0x0,
            initial: 0x0,
            present: 0x0,
        },
    )]
}
