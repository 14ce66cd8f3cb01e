//! `verifying`: the BMC is asked for the power state, which proves address, user and password.
//! Entered by `manage`. Left when it answers. Fails back to `enroll`, as in Ironic; then a person
//! corrects the enrolment and asks again.

use super::{NOTHING, overdue, timed_out};
use crate::node::{Context, Done, Event, Next, Node, ProvisionState as S, Step};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::ActionDone { done: Done::Power { .. } } => {
            Next::to(node, S::Manageable, ctx.now).go()
        }
        Event::ActionFailed { failure } => Step::Fail(failure.clone()),
        Event::Tick if overdue(node, ctx) => timed_out(node),
        Event::ActionDone { .. }
        | Event::Verb { .. }
        | Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::PowerObserved { .. }
        | Event::RamdiskFetched
        | Event::SecretReused
        | Event::Tick => NOTHING,
    }
}
