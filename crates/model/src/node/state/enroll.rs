//! `enroll`: known, never talked to. Entered by enrolment and by a verification that failed.
//! Left by `manage`. When it sticks: `last_error` says what is wrong with the BMC.

use super::stable;
use crate::node::{Action, Context, Event, Next, Node, Phase, ProvisionState as S, Step, Verb};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Manage } => Next::to(node, S::Verifying, ctx.now)
            .target(S::Manageable)
            .phase(Phase::ReadPower, ctx.after(ctx.policy.bmc_ms))
            .act(Action::ReadPower)
            .with(|n| n.last_error = None)
            .go(),
        _ => stable::on(node, event, ctx),
    }
}
