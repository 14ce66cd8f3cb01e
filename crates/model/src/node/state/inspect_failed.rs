//! `inspect failed`: no inventory; `last_error` says why. Left by `inspect` (again, with a fresh
//! boot) and `manage` (without).

use super::{ramdisk, stable};
use crate::node::{Context, Event, Next, Node, ProvisionState as S, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Inspect } => ramdisk::begin(node, ctx, &ramdisk::INSPECT).go(),
        Event::Verb { request: Verb::Manage } => {
            Next::to(node, S::Manageable, ctx.now).with(|n| n.last_error = None).go()
        }
        _ => stable::on(node, event, ctx),
    }
}
