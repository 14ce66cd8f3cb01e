//! How fast a machine has shown itself: what its steps took, beside what they should take. A step's
//! deadline grows with it, so that a slow machine is waited for and one that is stuck is not.

use std::collections::BTreeMap;

use undercloud_model::NodeName;

/// A step that is not over after this, and twenty times what it should take, on a machine that is as
/// fast as planned, never will be: its agent calls, and does not report. Each step's own bounds are
/// far below.
const STEP_MAX_MS: i64 = 15 * 60_000;
const STEP_MAX_TIMES: i64 = 20;
/// Nothing is known of a machine before this much of its work was seen; it may be emulated.
const KNOWN_MS: i64 = 10_000;
const UNKNOWN_PERCENT: i64 = 300;
/// A machine is waited for as if it were no faster than planned, and no slower than so much.
const PERCENT_MIN: i64 = 100;
const PERCENT_MAX: i64 = 3_000;

/// The machines' paces.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<NodeName, Seen>);

#[derive(Debug, Default)]
struct Seen {
    took_ms: i64,
    expected_ms: i64,
}

impl Paces {
    /// A step of the machine is done.
    pub(super) fn done(&mut self, machine: &NodeName, took_ms: u64, expected_s: u32) {
        let seen = self.0.entry(machine.clone()).or_default();
        let took_ms = i64::try_from(took_ms).unwrap_or(i64::MAX);
        seen.took_ms = seen.took_ms.saturating_add(took_ms);
        seen.expected_ms = seen.expected_ms.saturating_add(i64::from(expected_s) * 1000);
    }

    /// What the machine takes, in percent of what was planned.
    fn percent(&self, machine: &NodeName) -> i64 {
        match self.0.get(machine) {
            Some(seen) if seen.expected_ms >= KNOWN_MS => {
                let percent = seen.took_ms.saturating_mul(100) / seen.expected_ms;
                percent.clamp(PERCENT_MIN, PERCENT_MAX)
            }
            Some(_) | None => UNKNOWN_PERCENT,
        }
    }

    /// How long a step of the machine may take.
    pub(super) fn most_ms(&self, machine: &NodeName, expected_s: u32) -> i64 {
        let planned = STEP_MAX_MS + STEP_MAX_TIMES * 1000 * i64::from(expected_s);
        planned.saturating_mul(self.percent(machine)) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_showed_itself_slow_is_waited_for_longer() {
        let (fast, slow) = ("fast".parse().unwrap(), "slow".parse().unwrap());
        let mut paces = Paces::default();
        assert_eq!(paces.most_ms(&fast, 0), 3 * STEP_MAX_MS, "nothing is known yet");
        paces.done(&fast, 400, 20);
        paces.done(&slow, 160_000, 20);
        assert_eq!(paces.most_ms(&fast, 0), STEP_MAX_MS);
        assert_eq!(paces.most_ms(&slow, 0), 8 * STEP_MAX_MS);
        assert_eq!(paces.most_ms(&slow, 60), 8 * (STEP_MAX_MS + 20 * 60_000));
        paces.done(&slow, u64::MAX, 20);
        assert_eq!(paces.most_ms(&slow, 0), STEP_MAX_MS * PERCENT_MAX / 100);
    }
}
