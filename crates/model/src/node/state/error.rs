//! `error`: the operating system could not be taken away; `last_error` says why. Left by
//! `undeploy` (again) and by `deploy`.

use super::{deleting, deploying, stable};
use crate::node::{Context, Event, Node, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Deploy(request) } => deploying::begin(node, request, ctx).go(),
        Event::Verb { request: Verb::Undeploy } => deleting::begin(node, ctx).go(),
        _ => stable::on(node, event, ctx),
    }
}
