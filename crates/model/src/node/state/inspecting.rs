//! `inspecting`: the ramdisk is booted, or, without fast track, switched off after the inventory.
//! Entered by `inspect`. Each phase has the BMC's deadline. Left to `inspect wait` when the machine
//! is on, to `manageable` when it is off again. When it sticks, the BMC is the place to look.

use super::ramdisk;
use crate::node::{Context, Event, Node, Step};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    ramdisk::rest(node, event, ctx, &ramdisk::INSPECT)
}
