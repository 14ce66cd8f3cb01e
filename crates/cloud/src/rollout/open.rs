//! What a run waits for, for people: its steps that were ordered and are not over.

use undercloud_model::{NodeName, UnixMillis, agent::Outcome};
use undercloud_store::RolloutOrder;

use super::{converged, orders_of, pace::Paces};
use crate::plan::Plan;

/// A step that was ordered and is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenStep {
    /// Whose.
    pub machine: NodeName,
    /// What it does, for people.
    pub title: String,
    /// When it was ordered.
    pub since: UnixMillis,
    /// When the run gives it up, at the pace that its machine has shown until now.
    pub deadline: UnixMillis,
}

/// The open steps of a run of `plan`, of its `orders`; those of a machine together, the oldest first.
pub fn open_steps(
    plan: &Plan,
    (deployment, attempt): (i64, i64),
    orders: &[RolloutOrder],
) -> Vec<OpenStep> {
    let prefix = orders_of(deployment, attempt);
    let order = |key: &str| {
        orders.iter().find(|order| order.key.strip_prefix(&prefix).is_some_and(|k| k == key))
    };
    let (mut paces, mut open) = (Paces::default(), Vec::new());
    for step in &plan.steps {
        match order(step.key.as_str()).map(|order| (order, &order.outcome)) {
            Some((_, Some(Outcome::Done(result)))) => {
                paces.done(&step.machine, converged(result).took_ms, step.expected_s);
            }
            Some((order, None)) => open.push((step, order.created_at)),
            Some((_, Some(Outcome::Failed(_)))) | None => {}
        }
    }
    let mut open: Vec<OpenStep> = open
        .into_iter()
        .map(|(step, since)| OpenStep {
            machine: step.machine.clone(),
            title: step.title.clone(),
            since,
            deadline: since.saturating_add(paces.most_ms(&step.machine, step.expected_s)),
        })
        .collect();
    open.sort_by(|a, b| (&a.machine, a.since).cmp(&(&b.machine, b.since)));
    open
}
