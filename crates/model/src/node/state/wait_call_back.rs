//! `wait call-back`: twice in a deployment we wait for an agent. First for the ramdisk's: it boots,
//! takes a fresh inventory, and writes the image to the disk that the hints choose from it. Then
//! for the installed system's first call. Deadlines are the policy's. Left to `deploying` when the
//! disk is written, to `active` when the system called. When it sticks: the machine's console;
//! `abort` gives up, `undeploy` too.

use super::{NOTHING, deleting, deploying, overdue, ramdisk};
use crate::{
    PowerState,
    agent::{DiskIdentity, StepResult, WriteReceipt},
    choose_root_device,
    inventory::Inventory,
    node::{
        Context, Event, Failure, FailureKind, Node, Phase, ProvisionState as S, Step, Verb, Work,
    },
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    match (event, &node.phase) {
        (Event::Verb { request: Verb::Undeploy }, _) => deleting::begin(node, ctx).go(),
        (Event::InstalledCalled, Phase::InstalledBoots) => deploying::active(node, ctx).go(),
        (Event::Tick, Phase::InstalledBoots) if overdue(node, ctx) => {
            Step::Fail(Failure::new(FailureKind::InstalledSilent, ""))
        }
        (Event::PowerObserved { power: PowerState::On }, _) => NOTHING,
        _ => ramdisk::wait(node, event, ctx, &ramdisk::DEPLOY, worked),
    }
}

fn worked(node: &Node, work: &Work, result: &StepResult, ctx: &Context<'_>) -> Step {
    match (work, result) {
        (Work::Inspect, StepResult::Inspect(inventory)) => choose(node, inventory, ctx),
        (Work::Write { disk }, StepResult::WriteImage(receipt)) => {
            written(node, disk, receipt, ctx)
        }
        (Work::Inspect | Work::Wipe { .. } | Work::Write { .. }, _) => ramdisk::confused(work),
    }
}

/// The fresh inventory is in: which disk?
fn choose(node: &Node, inventory: &Inventory, ctx: &Context<'_>) -> Step {
    if let Err(error) = inventory.check() {
        return Step::Fail(Failure::new(FailureKind::AgentConfused, error.to_string()));
    }
    let Some(instance) = &node.instance else {
        return Step::Fail(Failure::new(FailureKind::ImageMissing, "no image is asked for"));
    };
    let need = instance.request.need_bytes();
    match choose_root_device(&inventory.disks, &node.root_device, need) {
        Err(error) => Step::Fail(Failure::of_root_device(&error)),
        Ok(disk) => {
            let disk = disk.identity();
            ramdisk::order(node, ctx, S::WaitCallBack, Work::Write { disk })
                .with(|n| n.inventory = Some(inventory.clone()))
                .go()
        }
    }
}

/// The disk is written, says the agent: is it what was asked for?
fn written(node: &Node, disk: &DiskIdentity, receipt: &WriteReceipt, ctx: &Context<'_>) -> Step {
    let asked = node.instance.as_ref().map(|i| i.request.image.source.disk_digest);
    if asked != Some(receipt.disk_digest) {
        let detail = format!("{} was written, which is another image", receipt.disk_digest);
        return Step::Fail(Failure::new(FailureKind::WrongDigest, detail));
    }
    // Both are of one boot, so the names are the same too: without a serial number and a WWN they
    // are all that tells one disk from another.
    if receipt.disk != *disk {
        let detail = format!("it wrote {} and was told to write {disk}", receipt.disk);
        return Step::Fail(Failure::new(FailureKind::AgentConfused, detail));
    }
    deploying::restart(node, ctx)
        .with(|n| {
            if let Some(instance) = &mut n.instance {
                instance.written = Some(receipt.clone());
            }
        })
        .go()
}
