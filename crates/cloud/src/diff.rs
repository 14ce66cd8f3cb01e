//! What a new plan has that an old one had not, for people to read before they agree.

use crate::{Plan, plan::StepKey};

/// Between two plans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Steps that the old plan had not.
    pub added: Vec<StepKey>,
    /// Steps that do something else now.
    pub changed: Vec<StepKey>,
    /// Steps that the new plan has not.
    pub removed: Vec<StepKey>,
}

/// What differs between two plans, in their order.
pub fn diff(old: &Plan, new: &Plan) -> Difference {
    let mut difference = Difference::default();
    for step in &new.steps {
        match old.step(&step.key) {
            None => difference.added.push(step.key.clone()),
            Some(before) if before.step != step.step || before.machine != step.machine => {
                difference.changed.push(step.key.clone());
            }
            Some(_) => {}
        }
    }
    let gone = old.steps.iter().filter(|step| new.step(&step.key).is_none());
    difference.removed = gone.map(|step| step.key.clone()).collect();
    difference
}
