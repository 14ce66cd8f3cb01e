//! `active`: runs what was asked for. Left by `undeploy`. Power that somebody else changes is
//! recorded, not changed back: whose machine it is decides.

use super::{deleting, stable};
use crate::node::{Context, Event, Node, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Undeploy } => deleting::begin(node, ctx).go(),
        _ => stable::on(node, event, ctx),
    }
}
