//! `clean failed`: the disks may hold anything; `last_error` says why. Left by `manage` (as in
//! Ironic) and by `provide`, which Ironic does not allow here: asking again resumes.

use super::{ramdisk, stable};
use crate::{
    consent::WipeScope,
    node::{Context, Effect, Event, Next, Node, ProvisionState as S, Step, Verb},
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Provide { wipe } } => ramdisk::clean(node, wipe, ctx).go(),
        // Somebody takes it back: what was agreed to is over.
        Event::Verb { request: Verb::Manage } => Next::to(node, S::Manageable, ctx.now)
            .effect(Effect::EndApprovals)
            .with(|n| {
                n.last_error = None;
                n.wipe = WipeScope::default();
            })
            .go(),
        _ => stable::on(node, event, ctx),
    }
}
