//! Reset Watchdog Timer (section 27.5): it starts, or starts over.

use super::layout::command;
use crate::ipmi::wire::empty_message;

empty_message!(
    /// The command.
    Request,
    "Reset Watchdog Timer request"
);

empty_message!(
    /// Done.
    Response,
    "Reset Watchdog Timer response"
);

command!("Reset Watchdog Timer", super::NETFN_APP, 0x22);
