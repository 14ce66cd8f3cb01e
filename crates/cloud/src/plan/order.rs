//! The order of steps, and how long they take.
//!
//! A step comes after those that it needs; among those that could come next, the one with the most
//! work behind it comes first. So what everything waits for (database, bus) starts first.

use std::collections::{BTreeMap, BTreeSet};

use undercloud_model::{
    NodeName,
    agent::cloud::{CloudStep, Probe},
};

use super::{PlanError, PlannedMachine, PlannedStep};

/// Megabytes of image that a machine takes in and unpacks in a second.
const PULL_MB_PER_S: u64 = 12;
/// A program's start is this part of the wait that its definition allows.
const EMULATED_PART: u32 = 6;
const NATIVE_PART: u32 = 60;
/// A file from the daemon: decrypted, hashed and written by an emulated processor.
const FETCH_MB_PER_S: u64 = 20;
/// Steps of one machine that run at the same time to any use.
const AT_ONCE: u32 = 2;
/// A machine's operating system from power-on to its agent.
const INSTALL_S: u32 = 240;

fn transfer_s(bytes: u64, mb_per_s: u64) -> u32 {
    let seconds = bytes.div_ceil(1_000_000).div_ceil(mb_per_s);
    u32::try_from(seconds).unwrap_or(u32::MAX).clamp(1, 3600)
}

/// How long a step takes, roughly, in seconds.
pub(super) fn expected_s(step: &CloudStep, emulated: bool) -> u32 {
    let program = if emulated { 60 } else { 4 };
    match step {
        // As a rule it has the daemon's build.
        CloudStep::UpdateAgent { .. } => 1,
        CloudStep::Network(_) | CloudStep::RetireServices { .. } => 2,
        CloudStep::MountImages(store) => transfer_s(store.bytes, FETCH_MB_PER_S),
        CloudStep::PullImage(pull) => transfer_s(pull.bytes, PULL_MB_PER_S),
        CloudStep::ApplyService(_) => 3,
        CloudStep::AwaitHealth(check) => match check.probe {
            Probe::Unit => 1,
            Probe::Http(_) | Probe::Tcp(_) | Probe::Unix(_) | Probe::Listed(_) => {
                check.timeout_s.div_ceil(if emulated { EMULATED_PART } else { NATIVE_PART })
            }
        },
        CloudStep::RunOnce(_) | CloudStep::EnsureIdentity(_) => program,
    }
}

/// The steps, each after those that it needs.
pub(super) fn sorted(steps: Vec<PlannedStep>) -> Result<Vec<PlannedStep>, PlanError> {
    let index: BTreeMap<_, _> =
        steps.iter().enumerate().map(|(i, step)| (step.key.clone(), i)).collect();
    let needs: Vec<Vec<usize>> = steps
        .iter()
        .map(|step| step.needs.iter().filter_map(|key| index.get(key).copied()).collect())
        .collect();
    let mut needed_by = vec![Vec::new(); steps.len()];
    for (step, needs) in needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(step);
        }
    }
    let topological = kahn(&steps, &needs, &needed_by, &vec![0; steps.len()])?;
    let mut work_behind = vec![0u64; steps.len()];
    for step in topological.into_iter().rev() {
        let behind = needed_by[step].iter().map(|next| work_behind[*next]).max();
        work_behind[step] = behind.unwrap_or(0) + u64::from(steps[step].expected_s);
    }
    let order = kahn(&steps, &needs, &needed_by, &work_behind)?;
    let mut steps: Vec<Option<PlannedStep>> = steps.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|step| steps[step].take()).collect())
}

/// Kahn's algorithm; of the steps that can be next, the one with the highest rank is, and of
/// equals the first.
fn kahn(
    steps: &[PlannedStep],
    needs: &[Vec<usize>],
    needed_by: &[Vec<usize>],
    rank: &[u64],
) -> Result<Vec<usize>, PlanError> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let entry = |step: usize| (std::cmp::Reverse(rank[step]), step);
    let mut ready: BTreeSet<_> = (0..steps.len()).filter(|s| open[*s] == 0).map(entry).collect();
    let mut order = Vec::new();
    while let Some((_, step)) = ready.pop_first() {
        order.push(step);
        for next in &needed_by[step] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.insert(entry(*next));
            }
        }
    }
    if order.len() == steps.len() {
        return Ok(order);
    }
    let stuck = (0..steps.len()).filter(|step| open[*step] > 0);
    let names: Vec<_> = stuck.map(|step| steps[step].key.to_string()).take(12).collect();
    Err(PlanError::Cycle { steps: names.join(", ") })
}

/// How long all of it takes, roughly: the longest way through, or the busiest machine's work.
pub(super) fn expected_minutes(steps: &[PlannedStep], machines: &[PlannedMachine]) -> u32 {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    let mut work: BTreeMap<&NodeName, u32> = BTreeMap::new();
    for step in steps {
        let start = step.needs.iter().filter_map(|key| ends.get(key.as_str())).max();
        ends.insert(step.key.as_str(), start.copied().unwrap_or(0).saturating_add(step.expected_s));
        let sum = work.entry(&step.machine).or_default();
        *sum = sum.saturating_add(step.expected_s);
    }
    let way = ends.into_values().max().unwrap_or(0);
    let busiest = work.into_values().max().unwrap_or(0) / AT_ONCE;
    let install = if machines.iter().any(|machine| machine.install) { INSTALL_S } else { 0 };
    way.max(busiest).saturating_add(install).div_ceil(60)
}
