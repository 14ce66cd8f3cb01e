//! Warm Reset (section 20.3): the controller forgets what is half done, but keeps its sessions. The machine keeps running.

use crate::ipmi::wire::{Command, empty_message};

empty_message!(
    /// The command.
    Request,
    "Warm Reset request"
);
empty_message!(
    /// It will be done.
    Response,
    "Warm Reset response"
);

impl Command for Request {
    const NAME: &'static str = "Warm Reset";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x03;
    type Response = Response;
}
