//! `inspect wait`: the ramdisk boots, then takes the inventory. Entered when the machine is on.
//! Deadlines: the policy's for a boot, then for an inspection. Left when the inventory is in. When
//! it sticks: the machine's console; `abort` gives up.

use super::ramdisk;
use crate::{
    agent::StepResult,
    node::{Context, Event, Failure, FailureKind, Node, Step, Work},
};

pub(super) fn on(node: &Node, event: &Event, ctx: &Context<'_>) -> Step {
    ramdisk::wait(node, event, ctx, &ramdisk::INSPECT, inspected)
}

fn inspected(node: &Node, work: &Work, result: &StepResult, ctx: &Context<'_>) -> Step {
    let StepResult::Inspect(inventory) = result else { return ramdisk::confused(work) };
    if let Err(error) = inventory.check() {
        return Step::Fail(Failure::new(FailureKind::AgentConfused, error.to_string()));
    }
    ramdisk::finish(node, ctx, &ramdisk::INSPECT)
        .with(|n| n.inventory = Some(inventory.clone()))
        .go()
}
