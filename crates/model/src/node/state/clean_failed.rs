//! `clean failed`: the disks may hold anything; `last_error` says why. Left by `manage` (as in
//! Ironic) and by `provide`, which Ironic does not allow here: asking again resumes.

use super::{ramdisk, stable};
use crate::node::{Context, Event, Next, Node, ProvisionState as S, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Provide } => ramdisk::begin(node, ctx, &ramdisk::CLEAN).go(),
        Event::Verb { request: Verb::Manage } => {
            Next::to(node, S::Manageable, ctx.now).with(|n| n.last_error = None).go()
        }
        _ => stable::on(node, event, ctx),
    }
}
