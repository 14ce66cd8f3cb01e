//! `available`: clean, and free to be deployed. Left by `deploy` and `manage`. With fast track its
//! ramdisk may be up and idle.

use super::{deploying, stable};
use crate::node::{Context, Effect, Event, Next, Node, ProvisionState as S, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Deploy(request) } => deploying::begin(node, request, ctx).go(),
        // Somebody takes it back: what was agreed to is over.
        Event::Verb { request: Verb::Manage } => {
            Next::to(node, S::Manageable, ctx.now).effect(Effect::EndApprovals).go()
        }
        _ => stable::on(node, event, ctx),
    }
}
