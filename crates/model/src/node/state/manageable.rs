//! `manageable`: its BMC obeys us. Left by `inspect` and `provide`. With fast track its ramdisk may
//! be up and idle.

use super::{ramdisk, stable};
use crate::node::{Context, Event, Node, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Inspect } => ramdisk::begin(node, ctx, &ramdisk::INSPECT).go(),
        Event::Verb { request: Verb::Provide { wipe } } => ramdisk::clean(node, wipe, ctx).go(),
        _ => stable::on(node, event, ctx),
    }
}
