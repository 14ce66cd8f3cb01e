//! `clean wait`: the ramdisk boots, then wipes the metadata of every disk and reads back that it is
//! gone. Deadlines: the policy's for a boot, then for a wipe. Left when every disk has a receipt.
//! When it sticks: the machine's console; `abort` gives up.

use super::ramdisk;
use crate::{
    agent::StepResult,
    node::{Context, Event, Failure, FailureKind, Node, Step, Work},
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    ramdisk::wait(node, event, ctx, &ramdisk::CLEAN, wiped)
}

fn wiped(node: &Node, work: &Work, result: &StepResult, ctx: &Context<'_>) -> Step {
    let StepResult::WipeMetadata { disks } = result else { return ramdisk::confused(work) };
    if let Some(dirty) = disks.iter().find(|d| d.zeroed_bytes == 0) {
        let detail = format!("nothing was erased on {}", dirty.disk.name);
        return Step::Fail(Failure::new(FailureKind::DiskFault, detail));
    }
    ramdisk::finish(node, ctx, &ramdisk::CLEAN).go()
}
