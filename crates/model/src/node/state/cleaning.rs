//! `cleaning`: the ramdisk is booted, or, without fast track, switched off after the wipe. Entered
//! by `provide`, and from `deleting`. Each phase has the BMC's deadline. Left to `clean wait` when
//! the machine is on, to `available` when it is off again.

use super::ramdisk;
use crate::node::{Context, Event, Node, Step};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    ramdisk::rest(node, event, ctx, &ramdisk::CLEAN)
}
