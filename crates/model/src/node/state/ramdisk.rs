//! What inspection, cleaning and deployment share: bringing the ramdisk up and ordering work.
//!
//! ```text
//! busy state:  network boot ──▶ switch off ──▶ switch on ──▶   (each one BMC action)
//! wait state:  agent boots ──▶ ordering ──▶ ordered ──▶ the state's own business
//!
//! the same by virtual media, where neither DHCP nor TFTP has a part:
//! busy state:  switch off ──▶ insert media ──▶ network boot (from CD) ──▶ switch on ──▶
//! wait state:  agent boots ──▶ eject media ──▶ ordering ──▶ …
//! ```
//! A CD holds the boot's secret: it goes in when the machine is off and out when the secret is used.
//!
//! The machine is switched off and on, not reset, so that each half can be repeated after a crash
//! without a second restart. A ramdisk that still calls is used again at `ordering` (fast track).

use super::{NOTHING, overdue, timed_out};
use crate::{
    BootDevice, PowerState, UnixMillis,
    agent::{Outcome, StepResult},
    consent::WipeScope,
    node::{
        Action, BootInterface, BootProgress, Context, Done, Effect, Event, Failure, FailureKind,
        Next, Node, Phase, ProvisionState as S, Step, Verb, Work,
    },
};

/// What a verb needs of the ramdisk.
pub(super) struct Plan {
    /// The state that boots it.
    pub busy: S,
    /// The state that waits for it.
    pub wait: S,
    /// Where the verb leads.
    pub target: S,
    /// The first work.
    pub work: Work,
}

pub(super) const INSPECT: Plan =
    Plan { busy: S::Inspecting, wait: S::InspectWait, target: S::Manageable, work: Work::Inspect };

/// Cleaning and deployment begin with a fresh inventory: the disk is chosen from what is there now,
/// and what is on it now is what a person must have agreed to.
pub(super) const CLEAN: Plan =
    Plan { busy: S::Cleaning, wait: S::CleanWait, target: S::Available, work: Work::Inspect };

pub(super) const DEPLOY: Plan =
    Plan { busy: S::Deploying, wait: S::WaitCallBack, target: S::Active, work: Work::Inspect };

/// The verb begins: with the ramdisk that is up, or with a boot.
pub(super) fn begin(node: &Node, ctx: &Context<'_>, plan: &Plan) -> Next {
    let healthy = !node.state.is_failed();
    if healthy && ctx.ramdisk_is_fresh() {
        order(node, ctx, plan.wait, plan.work.clone())
            .target(plan.target)
            .with(|n| n.last_error = None)
    } else {
        boot(node, ctx, plan)
    }
}

/// A cleaning of these disks begins.
pub(super) fn clean(node: &Node, wipe: &WipeScope, ctx: &Context<'_>) -> Next {
    begin(node, ctx, &CLEAN).with(|n| n.wipe = node.wiped_by(wipe))
}

/// The verb begins with a boot.
pub(super) fn boot(node: &Node, ctx: &Context<'_>, plan: &Plan) -> Next {
    let (phase, action) = match node.boot_interface {
        BootInterface::Ipxe => (Phase::NetworkBoot, boot_once(BootDevice::Pxe)),
        BootInterface::RedfishVirtualMedia => (Phase::SwitchOff, Action::PowerOff),
    };
    Next::to(node, plan.busy, ctx.now)
        .target(plan.target)
        .phase(phase, ctx.after(ctx.policy.bmc_ms))
        .act(action)
        .effect(Effect::EndRamdisk)
        .with(|n| {
            n.last_error = None;
            n.booted_again = false;
        })
}

/// Until when the agent of the boot under way has time to call.
fn agent_boots_until(node: &Node, ctx: &Context<'_>) -> UnixMillis {
    if ramdisk_was_fetched(node, ctx) {
        ctx.after(ctx.policy.ramdisk_starts_ms)
    } else {
        ctx.after(ctx.policy.agent_boots_ms)
    }
}

const fn boot_once(device: BootDevice) -> Action {
    Action::SetBootDevice { device, persistent: false }
}

/// The agent is there: first of all the CD goes, if it came by one.
fn welcome(node: &Node, ctx: &Context<'_>, plan: &Plan) -> Next {
    match node.boot_interface {
        BootInterface::Ipxe => order(node, ctx, plan.wait, plan.work.clone()),
        BootInterface::RedfishVirtualMedia => Next::to(node, plan.wait, ctx.now)
            .phase(Phase::EjectMedia, ctx.after(ctx.policy.bmc_ms))
            .act(Action::EjectMedia),
    }
}

/// The next work for an agent that is there.
pub(super) fn order(node: &Node, ctx: &Context<'_>, wait: S, work: Work) -> Next {
    Next::to(node, wait, ctx.now)
        .phase(Phase::Ordering { work: work.clone() }, ctx.after(ctx.policy.bmc_ms))
        .act(Action::Order { work })
}

/// The busy state's share.
pub(super) fn bring_up(node: &Node, event: &Event, ctx: &Context<'_>, plan: &Plan) -> Step {
    let at = |phase, ms| Next::to(node, plan.busy, ctx.now).phase(phase, ctx.after(ms));
    let bmc_ms = ctx.policy.bmc_ms;
    let by_media = node.boot_interface == BootInterface::RedfishVirtualMedia;
    match (event, &node.phase) {
        (Event::ActionFailed { failure }, _) => Step::Fail(failure.clone()),
        (Event::ActionDone { done: Done::BootDevice }, Phase::NetworkBoot) if by_media => {
            at(Phase::SwitchOn, bmc_ms).act(Action::PowerOn).go()
        }
        (Event::ActionDone { done: Done::BootDevice }, Phase::NetworkBoot) => {
            at(Phase::SwitchOff, bmc_ms).act(Action::PowerOff).go()
        }
        (Event::ActionDone { done: Done::Power { power: PowerState::Off } }, Phase::SwitchOff) => {
            // By media two more actions come before the machine is on.
            let actions = if by_media { 3 } else { 1 };
            let until = ctx.after(actions * bmc_ms + ctx.policy.agent_boots_ms);
            let (phase, action) = if by_media {
                (Phase::InsertMedia, Action::InsertMedia)
            } else {
                (Phase::SwitchOn, Action::PowerOn)
            };
            at(phase, bmc_ms).effect(Effect::OpenBootWindow { until }).act(action).go()
        }
        (Event::ActionDone { done: Done::Media }, Phase::InsertMedia) => {
            at(Phase::NetworkBoot, bmc_ms).act(boot_once(BootDevice::Cdrom)).go()
        }
        (Event::ActionDone { done: Done::Power { power: PowerState::On } }, Phase::SwitchOn) => {
            Next::to(node, plan.wait, ctx.now)
                .phase(Phase::AgentBoots, agent_boots_until(node, ctx))
                .go()
        }
        // The agent was quicker than the BMC's answer, which a crash then swallowed.
        (Event::AgentHello, Phase::SwitchOn) => welcome(node, ctx, plan).go(),
        (Event::Tick, _) if overdue(node, ctx) => timed_out(node),
        (
            Event::ActionDone { .. }
            | Event::RamdiskFetched
            | Event::AgentHello
            | Event::Verb { .. }
            | Event::StepReported { .. }
            | Event::InstalledCalled
            | Event::PowerObserved { .. }
            | Event::SecretReused
            | Event::Tick,
            _,
        ) => NOTHING,
    }
}

/// What a wait state does with work that is done.
pub(super) type Finish = fn(&Node, &Work, &StepResult, &Context<'_>) -> Step;

/// The wait state's share.
pub(super) fn wait(
    node: &Node,
    event: &Event,
    ctx: &Context<'_>,
    plan: &Plan,
    finish: Finish,
) -> Step {
    match (event, &node.phase) {
        (Event::Verb { request: Verb::Abort }, _) => {
            let detail = format!("somebody asked for that while it was {}", node.phase);
            Step::Fail(Failure::new(FailureKind::Aborted, detail))
        }
        (Event::ActionFailed { failure }, _) => Step::Fail(failure.clone()),
        (Event::PowerObserved { power: PowerState::Off }, phase) if phase.needs_power() => {
            let detail = format!("somebody or something cut its power while it was {phase}");
            Step::Fail(Failure::new(FailureKind::SwitchedOff, detail))
        }
        // How long firmware takes nobody knows; how long a kernel takes is known better.
        (Event::RamdiskFetched, Phase::AgentBoots) if ramdisk_was_fetched(node, ctx) => {
            let sooner = agent_boots_until(node, ctx).min(node.deadline.unwrap_or(UnixMillis::MAX));
            Next::to(node, plan.wait, ctx.now).phase(Phase::AgentBoots, sooner).go()
        }
        (Event::AgentHello, Phase::AgentBoots) => welcome(node, ctx, plan).go(),
        (Event::ActionDone { done: Done::Media }, Phase::EjectMedia) => {
            order(node, ctx, plan.wait, plan.work.clone()).go()
        }
        (Event::ActionDone { done: Done::Ordered { step } }, Phase::Ordering { work }) => {
            let deadline = ctx.after(ctx.policy.work_ms(work));
            Next::to(node, plan.wait, ctx.now)
                .phase(Phase::Ordered { work: work.clone(), step: *step }, deadline)
                .go()
        }
        (Event::StepReported { step, outcome }, Phase::Ordered { work, step: ordered })
            if step == ordered =>
        {
            match &**outcome {
                Outcome::Done(result) => finish(node, work, result, ctx),
                Outcome::Failed(failure) => Step::Fail(Failure::of_step(failure)),
            }
        }
        (Event::Tick, phase) => tick(node, phase, ctx, plan),
        (
            Event::Verb { .. }
            | Event::ActionDone { .. }
            | Event::RamdiskFetched
            | Event::AgentHello
            | Event::StepReported { .. }
            | Event::InstalledCalled
            | Event::PowerObserved { .. }
            | Event::SecretReused,
            _,
        ) => NOTHING,
    }
}

fn tick(node: &Node, phase: &Phase, ctx: &Context<'_>, plan: &Plan) -> Step {
    match phase {
        // Nobody is to blame but us: once more, in a window that we listen in from its beginning.
        Phase::AgentBoots if overdue(node, ctx) && ctx.boot_was_unheard() => {
            boot(node, ctx, plan).go()
        }
        // A kernel that crashes as it starts, or a timer that an emulator missed: the next start is
        // another one. What keeps it from calling for good shows itself again.
        Phase::AgentBoots
            if overdue(node, ctx) && !node.booted_again && ramdisk_was_fetched(node, ctx) =>
        {
            boot(node, ctx, plan).with(|n| n.booted_again = true).go()
        }
        Phase::AgentBoots if overdue(node, ctx) => {
            Step::Fail(Failure::never_booted(ctx.boot_progress, node.boot_interface))
        }
        Phase::Ordered { work, .. } if ctx.ramdisk_is_silent() => Step::Fail(Failure::silent(work)),
        Phase::Ordered { work, .. } if overdue(node, ctx) => {
            let detail = format!("it was still {} when its time was over", work.doing());
            Step::Fail(Failure::new(FailureKind::TooSlow, detail))
        }
        _ if overdue(node, ctx) => timed_out(node),
        _ => NOTHING,
    }
}

/// Whether the machine itself fetched its ramdisk, so that network, names and secrets are right. A
/// BMC reads a CD when it likes.
fn ramdisk_was_fetched(node: &Node, ctx: &Context<'_>) -> bool {
    node.boot_interface == BootInterface::Ipxe && ctx.boot_progress == BootProgress::Ramdisk
}

/// The verb's work is done: rest on `target` with the ramdisk up, or switch off first.
pub(super) fn finish(node: &Node, ctx: &Context<'_>, plan: &Plan) -> Next {
    if ctx.policy.fast_track {
        Next::to(node, plan.target, ctx.now)
    } else {
        Next::to(node, plan.busy, ctx.now)
            .phase(Phase::Rest, ctx.after(ctx.policy.bmc_ms))
            .act(Action::PowerOff)
            .effect(Effect::EndRamdisk)
    }
}

/// The busy state's end, when the machine is switched off after the work.
pub(super) fn rest(node: &Node, event: &Event, ctx: &Context<'_>, plan: &Plan) -> Step {
    match (event, &node.phase) {
        (Event::ActionDone { done: Done::Power { power: PowerState::Off } }, Phase::Rest) => {
            Next::to(node, plan.target, ctx.now).go()
        }
        _ => bring_up(node, event, ctx, plan),
    }
}

/// An answer that does not belong to its order.
pub(super) fn confused(work: &Work) -> Step {
    let detail = format!("its answer does not fit the order while {}", work.doing());
    Step::Fail(Failure::new(FailureKind::AgentConfused, detail))
}
