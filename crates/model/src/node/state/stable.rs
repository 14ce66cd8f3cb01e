//! What all stable states share: errands (power, boot device), and a ramdisk that goes away.
//!
//! An errand that fails leaves its sentence and the node where it is. Power that somebody else
//! changed is recorded and not changed back.

use super::{NOTHING, overdue, timed_out};
use crate::{
    PowerAction, PowerState,
    node::{Action, Context, Done, Effect, Errand, Event, Next, Node, Phase, Step, Verb},
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match event {
        Event::Verb { request: Verb::Power { action } } => power(node, *action, ctx).go(),
        Event::Verb { request: Verb::BootDevice { device, persistent } } => {
            let (device, persistent) = (*device, *persistent);
            errand(node, Errand::BootDevice { device, persistent }, ctx).go()
        }
        Event::ActionDone { done } => done_with(node, *done, ctx),
        Event::ActionFailed { failure } => Step::Fail(failure.clone()),
        Event::PowerObserved { power: PowerState::Off }
            if node.phase == Phase::Idle && ctx.ramdisk_seen_at.is_some() =>
        {
            same(node, ctx).effect(Effect::EndRamdisk).go()
        }
        Event::Tick if overdue(node, ctx) => timed_out(node),
        Event::Verb { .. }
        | Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::PowerObserved { .. }
        | Event::RamdiskFetched
        | Event::SecretReused
        | Event::Tick => NOTHING,
    }
}

fn same(node: &Node, ctx: &Context<'_>) -> Next {
    Next::to(node, node.state, ctx.now)
}

fn power(node: &Node, action: PowerAction, ctx: &Context<'_>) -> Next {
    let wanted = match action {
        PowerAction::On => Errand::SwitchOn,
        PowerAction::Off => Errand::SwitchOff,
        PowerAction::SoftOff => Errand::SoftOff,
        PowerAction::Cycle | PowerAction::Reset => Errand::CycleOff,
    };
    errand(node, wanted, ctx).with(|n| {
        // Why it failed stays to be read until the verb is asked for again.
        if !n.state.is_failed() {
            n.last_error = None;
        }
    })
}

fn errand(node: &Node, errand: Errand, ctx: &Context<'_>) -> Next {
    let (action, ms) = match errand {
        Errand::SwitchOn | Errand::CycleOn => (Action::PowerOn, ctx.policy.bmc_ms),
        Errand::SwitchOff | Errand::CycleOff => (Action::PowerOff, ctx.policy.bmc_ms),
        Errand::SoftOff => (Action::SoftOff, ctx.policy.bmc_ms + ctx.policy.soft_off_ms),
        Errand::BootDevice { device, persistent } => {
            (Action::SetBootDevice { device, persistent }, ctx.policy.bmc_ms)
        }
    };
    same(node, ctx).phase(Phase::Errand { errand }, ctx.after(ms)).act(action)
}

fn done_with(node: &Node, done: Done, ctx: &Context<'_>) -> Step {
    let Phase::Errand { errand: was } = node.phase else { return NOTHING };
    match (was, done) {
        (Errand::CycleOff, Done::Power { power: PowerState::Off }) => {
            errand(node, Errand::CycleOn, ctx).effect(Effect::EndRamdisk).go()
        }
        (Errand::SwitchOff | Errand::SoftOff, Done::Power { power: PowerState::Off }) => {
            same(node, ctx).effect(Effect::EndRamdisk).go()
        }
        (Errand::SwitchOn | Errand::CycleOn, Done::Power { power: PowerState::On })
        | (Errand::BootDevice { .. }, Done::BootDevice) => same(node, ctx).go(),
        (_, Done::Power { .. } | Done::BootDevice | Done::Media | Done::Ordered { .. }) => NOTHING,
    }
}
