//! `clean wait`: the ramdisk boots and takes a fresh inventory; then it wipes the metadata of the
//! disks that the request is for, and of no others, and reads back that it is gone. Deadlines: the
//! policy's for a boot, for an inspection, for a wipe. Left when each of those disks has a receipt.
//! When it sticks: the machine's console; `abort` gives up.

use super::ramdisk;
use crate::{
    Content,
    agent::{DiskIdentity, StepResult, WipeReceipt},
    consent::{self, WipeScope},
    inventory::Inventory,
    node::{Context, Effect, Event, Failure, FailureKind, Node, ProvisionState as S, Step, Work},
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    ramdisk::wait(node, event, ctx, &ramdisk::CLEAN, worked)
}

fn worked(node: &Node, work: &Work, result: &StepResult, ctx: &Context<'_>) -> Step {
    match (work, result) {
        (Work::Inspect, StepResult::Inspect(inventory)) => choose(node, inventory, ctx),
        (Work::Wipe { disks }, StepResult::WipeDisks { disks: receipts }) => {
            wiped(node, disks, receipts, ctx)
        }
        (Work::Inspect | Work::Wipe { .. } | Work::Write { .. }, _) => ramdisk::confused(work),
    }
}

/// The fresh inventory is in: which disks?
fn choose(node: &Node, inventory: &Inventory, ctx: &Context<'_>) -> Step {
    if let Err(error) = inventory.check() {
        return Step::Fail(Failure::new(FailureKind::AgentConfused, error.to_string()));
    }
    let disks = match consent::erased(&inventory.disks, &node.root_device, &node.wipe) {
        Ok(disks) => disks,
        Err(error) => return Step::Fail(Failure::of_root_device(&error)),
    };
    let disks: Vec<DiskIdentity> = disks.iter().map(|disk| disk.identity()).collect();
    if let WipeScope::These { disks: wanted } = &node.wipe
        && let Some(gone) = wanted.iter().find(|w| !disks.iter().any(|d| d.is(w)))
    {
        let detail = format!(
            "{gone}, which was written, is not there; `undercloud node manage {}` takes the machine \
             back without it",
            node.name
        );
        return Step::Fail(Failure::new(FailureKind::DiskGone, detail));
    }
    if disks.is_empty() {
        let detail = "the machine has no disk that can be erased";
        return Step::Fail(Failure::new(FailureKind::NoDiskMatches, detail));
    }
    ramdisk::order(node, ctx, S::CleanWait, Work::Wipe { disks })
        .with(|n| n.inventory = Some(inventory.clone()))
        .go()
}

/// The disks are wiped, says the agent: are they what was asked for?
fn wiped(node: &Node, disks: &[DiskIdentity], receipts: &[WipeReceipt], ctx: &Context<'_>) -> Step {
    let of_order = receipts.iter().map(|receipt| &receipt.disk).eq(disks);
    if disks.is_empty() || !of_order {
        let named = |disks: &mut dyn Iterator<Item = &DiskIdentity>| {
            disks.map(DiskIdentity::to_string).collect::<Vec<_>>().join(", ")
        };
        let (told, did) = (named(&mut disks.iter()), named(&mut receipts.iter().map(|r| &r.disk)));
        let detail = format!("it wiped {did} and was told to wipe {told}");
        return Step::Fail(Failure::new(FailureKind::AgentConfused, detail));
    }
    if let Some(dirty) = receipts.iter().find(|d| d.zeroed_bytes == 0) {
        let detail = format!("nothing was erased on {}", dirty.disk.name);
        return Step::Fail(Failure::new(FailureKind::DiskFault, detail));
    }
    ramdisk::finish(node, ctx, &ramdisk::CLEAN)
        .effect(Effect::DisksAreEmpty)
        .with(|n| {
            n.wipe = WipeScope::default();
            let known = n.inventory.iter_mut().flat_map(|i| &mut i.disks);
            for disk in known.filter(|d| disks.contains(&d.identity())) {
                disk.content = Content::EMPTY;
            }
        })
        .go()
}
