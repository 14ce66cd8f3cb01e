//! Cold Reset (section 20.2): the controller starts over, and every session with it. The machine keeps running.

use crate::ipmi::wire::{Command, empty_message};

empty_message!(
    /// The command.
    Request,
    "Cold Reset request"
);
empty_message!(
    /// It will be done.
    Response,
    "Cold Reset response"
);

impl Command for Request {
    const NAME: &'static str = "Cold Reset";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x02;
    type Response = Response;
}
