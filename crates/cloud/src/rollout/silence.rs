//! Agents that do not call while something is waited for: said once in a while, given up at the end.

use std::collections::BTreeSet;

use undercloud_model::NodeName;

/// An agent polls at least every 20 s, also while it works; but its machine may just have been switched
/// on, and an emulated one on a busy host takes two minutes and more to boot. That a machine is off is
/// seen at once.
pub(super) const SILENCE_MAX_MS: i64 = 300_000;
/// An agent that missed three calls is waited for by somebody who should know it.
const SAID_AFTER_MS: i64 = 60_000;

/// The machines whose silence was said.
#[derive(Debug, Default)]
pub(super) struct Silences(BTreeSet<NodeName>);

impl Silences {
    /// For how many seconds the machine's agent has not called, if that is to be said now: once for
    /// each silence.
    pub(super) fn news(&mut self, machine: &NodeName, silent_ms: i64) -> Option<i64> {
        if silent_ms < SAID_AFTER_MS {
            self.0.remove(machine);
            return None;
        }
        self.0.insert(machine.clone()).then_some(silent_ms / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_silence_is_said_once() {
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let mut silences = Silences::default();
        assert_eq!(silences.news(&one, SAID_AFTER_MS - 1), None);
        assert_eq!(silences.news(&one, SAID_AFTER_MS), Some(60));
        assert_eq!(silences.news(&one, SAID_AFTER_MS + 5000), None);
        assert_eq!(silences.news(&two, SAID_AFTER_MS + 5000), Some(65));
        // It called, and is silent again.
        assert_eq!(silences.news(&one, 0), None);
        assert_eq!(silences.news(&one, SAID_AFTER_MS), Some(60));
        const { assert!(SAID_AFTER_MS < SILENCE_MAX_MS) };
    }
}
