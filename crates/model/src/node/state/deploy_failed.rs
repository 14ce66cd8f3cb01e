//! `deploy failed`: no operating system, or one that never called; `last_error` says why. Left by
//! `deploy`, which resumes after the write if the same request was already written, and by
//! `undeploy`, which wipes.

use super::{deleting, deploying, stable};
use crate::node::{Context, Event, Node, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Deploy(request) } => deploying::begin(node, request, ctx).go(),
        Event::Verb { request: Verb::Undeploy } => deleting::begin(node, ctx).go(),
        _ => stable::on(node, event, ctx),
    }
}
