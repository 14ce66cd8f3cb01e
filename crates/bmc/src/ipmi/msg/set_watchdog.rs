//! Set Watchdog Timer (section 27.6): for what, how long, and what then.

use super::layout::{command, message};
use crate::ipmi::wire::empty_message;

message!(exact Request, "Set Watchdog Timer request" {
    /// For what (3 bits); bit 7 without an event, bit 6 a watchdog that runs goes on running.
    usage: u8,
    /// What it does at the end (3 bits); bits 6 to 4 what it does before.
    actions: u8,
    /// How long before.
    pretimeout_s: u8,
    /// Which "ran out" to forget.
    clear: u8,
    /// From where it counts, in 0.1 s.
    initial: u16,
});

empty_message!(
    /// Done.
    Response,
    "Set Watchdog Timer response"
);

command!("Set Watchdog Timer", super::NETFN_APP, 0x24);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made: for the operating system, hard reset after a minute",
        &[0x04, 0x01, 0x00, 0x10, 0x58, 0x02],
        Request { usage: 0x04, actions: 0x01, pretimeout_s: 0, clear: 0x10, initial: 600 },
    )]
}
