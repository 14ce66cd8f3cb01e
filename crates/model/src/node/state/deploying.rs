//! `deploying`: the ramdisk is booted; later, with the disk written, the machine is restarted from
//! it. Entered by `deploy`, and from `wait call-back` after the write. Each phase has the BMC's
//! deadline. Left to `wait call-back` when the machine is on.
//!
//! ```text
//! network boot ▶ switch off ▶ switch on ▶ [wait call-back: boots, inventory, write] ▶
//! disk boot ▶ restart off ▶ restart on ▶ [wait call-back: installed system calls] ▶ active
//! ```

use super::ramdisk;
use crate::{
    BootDevice, PowerState,
    consent::WipeScope,
    node::{
        Action, Context, DeployRequest, Done, Effect, Event, Instance, Next, Node, Phase,
        ProvisionState as S, Step,
    },
};

/// `deploy` begins. Where the same request has already been written to the disk, it resumes at the
/// restart: a disk is not written twice.
pub(super) fn begin(node: &Node, request: &DeployRequest, ctx: &Context<'_>) -> Next {
    if node.has_written(request) {
        return restart(node, ctx).with(|n| n.last_error = None);
    }
    let instance = Instance { request: request.clone(), written: None, reported_at: None };
    ramdisk::begin(node, ctx, &ramdisk::DEPLOY).effect(Effect::RevokeMachineKey).with(|n| {
        n.instance = Some(instance);
        n.wipe = WipeScope::default();
    })
}

/// The disk is written: boot from it.
pub(super) fn restart(node: &Node, ctx: &Context<'_>) -> Next {
    Next::to(node, S::Deploying, ctx.now)
        .target(S::Active)
        .phase(Phase::DiskBoot, ctx.after(ctx.policy.bmc_ms))
        .act(Action::SetBootDevice { device: BootDevice::Disk, persistent: true })
}

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    let at =
        |phase| Next::to(node, S::Deploying, ctx.now).phase(phase, ctx.after(ctx.policy.bmc_ms));
    match (event, &node.phase) {
        (Event::ActionDone { done: Done::BootDevice }, Phase::DiskBoot) => {
            at(Phase::RestartOff).act(Action::PowerOff).effect(Effect::EndRamdisk).go()
        }
        (Event::ActionDone { done: Done::Power { power: PowerState::Off } }, Phase::RestartOff) => {
            at(Phase::RestartOn).act(Action::PowerOn).go()
        }
        (Event::ActionDone { done: Done::Power { power: PowerState::On } }, Phase::RestartOn) => {
            started(node, ctx).go()
        }
        // The installed system was quicker than the BMC's answer, which a crash then swallowed.
        (Event::InstalledCalled, Phase::RestartOn) => active(node, ctx).go(),
        _ => ramdisk::bring_up(node, event, ctx, &ramdisk::DEPLOY),
    }
}

fn started(node: &Node, ctx: &Context<'_>) -> Next {
    if node.instance.as_ref().is_some_and(|i| i.request.image.has_agent) {
        Next::to(node, S::WaitCallBack, ctx.now)
            .phase(Phase::InstalledBoots, ctx.after(ctx.policy.installed_boots_ms))
    } else {
        Next::to(node, S::Active, ctx.now)
    }
}

/// The installed system has called.
pub(super) fn active(node: &Node, ctx: &Context<'_>) -> Next {
    Next::to(node, S::Active, ctx.now).with(|n| {
        if let Some(instance) = &mut n.instance {
            instance.reported_at = Some(ctx.now);
        }
    })
}
