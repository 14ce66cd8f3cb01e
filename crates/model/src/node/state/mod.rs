//! One file for each state, and the table that finds it.

mod active;
mod available;
mod clean_failed;
mod clean_wait;
mod cleaning;
mod deleting;
mod deploy_failed;
mod deploying;
mod enroll;
mod error;
mod inspect_failed;
mod inspect_wait;
mod inspecting;
mod manageable;
mod ramdisk;
mod stable;
mod verifying;
mod wait_call_back;

use super::{
    Context, Effect, Event, Failure, FailureKind, LastError, Next, Node, ProvisionState as S, Step,
};
use crate::UnixMillis;

/// What `event` means for `node` now.
pub fn step(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    if let Event::Verb { request } = event
        && request.check(node).is_err()
    {
        return Step::Stay("the node has moved on and no longer allows it");
    }
    if *event == Event::SecretReused {
        return Step::Fail(Failure::new(FailureKind::SecretReused, ""));
    }
    match node.state {
        S::Enroll => enroll::on(node, event, ctx),
        S::Verifying => verifying::on(node, event, ctx),
        S::Manageable => manageable::on(node, event, ctx),
        S::Inspecting => inspecting::on(node, event, ctx),
        S::InspectWait => inspect_wait::on(node, event, ctx),
        S::InspectFailed => inspect_failed::on(node, event, ctx),
        S::Cleaning => cleaning::on(node, event, ctx),
        S::CleanWait => clean_wait::on(node, event, ctx),
        S::CleanFailed => clean_failed::on(node, event, ctx),
        S::Available => available::on(node, event, ctx),
        S::Deploying => deploying::on(node, event, ctx),
        S::WaitCallBack => wait_call_back::on(node, event, ctx),
        S::DeployFailed => deploy_failed::on(node, event, ctx),
        S::Active => active::on(node, event, ctx),
        S::Deleting => deleting::on(node, event, ctx),
        S::Error => error::on(node, event, ctx),
    }
}

/// Where a failure leads: to the state's failure state, with the sentence in `last_error`.
///
/// Power stays as it is, so that a person can look at the console; the ramdisk's session ends, so
/// that an agent which comes back late finds nothing to do and the next verb boots afresh. In a
/// stable state only an errand can fail: the node stays where it is.
pub fn fail(node: &Node, failure: &Failure, now: UnixMillis) -> Next {
    let next = Next::to(node, node.state.on_failure(), now).with(|n| {
        let text = failure.sentence(&node.name);
        n.last_error = Some(LastError { kind: failure.kind, text, at: now });
    });
    let was_errand = node.state.is_stable() && failure.kind != FailureKind::SecretReused;
    if was_errand { next } else { next.effect(Effect::EndRamdisk) }
}

/// Whether the phase's time is over.
fn overdue(node: &Node, ctx: &Context<'_>) -> bool {
    node.deadline.is_some_and(|deadline| ctx.is_past(deadline))
}

/// The phase's time is over and nothing better is known.
fn timed_out(node: &Node) -> Step {
    let detail = format!("it was still {} when its time was over", node.phase);
    Step::Fail(Failure::new(FailureKind::TimedOut, detail))
}

/// An event that says nothing new here.
const NOTHING: Step = Step::Stay("it changes nothing in this state");
