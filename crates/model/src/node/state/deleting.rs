//! `deleting`: the machine is switched off and its key is void; then it is cleaned. Entered by
//! `undeploy`. Deadline: the BMC's. Left to `cleaning`. Fails to `error`; then a person looks at
//! the BMC and asks again.

use super::{NOTHING, overdue, ramdisk, timed_out};
use crate::{
    PowerState,
    node::{Action, Context, Done, Effect, Event, Next, Node, Phase, ProvisionState as S, Step},
};

pub(super) fn begin(node: &Node, ctx: &Context<'_>) -> Next {
    Next::to(node, S::Deleting, ctx.now)
        .target(S::Available)
        .phase(Phase::SwitchOff, ctx.after(ctx.policy.bmc_ms))
        .act(Action::PowerOff)
        .effect(Effect::EndRamdisk)
        .effect(Effect::RevokeMachineKey)
        .with(|n| {
            n.last_error = None;
            n.wipe = n.wiped_by_undeploy();
            // What was written is not to be resumed.
            if let Some(instance) = &mut n.instance {
                instance.written = None;
            }
        })
}

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::ActionDone { done: Done::Power { power: PowerState::Off } } => {
            ramdisk::boot(node, ctx, &ramdisk::CLEAN).with(|n| n.instance = None).go()
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
