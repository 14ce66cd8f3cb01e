//! Whose power is looked at next. Kept in memory: after a restart every node is looked at once.
//!
//! Nobody waits for a look but the clock, so it has slots of its own, and a BMC that does not answer
//! is asked less and less often: a dead switch in the management network costs the live nodes
//! nothing.

use std::collections::{BTreeSet, HashMap};

use undercloud_model::{
    NodeId, UnixMillis,
    node::{Phase, ProvisionState},
};
use undercloud_store::Watched;

use crate::Limits;

/// After so many looks without an answer the pause grows no more (2⁴ = 16 times the usual one).
const DOUBLINGS_MAX: u32 = 4;

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The BMC told.
    Answered,
    /// It did not.
    Silent,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    next: UnixMillis,
    silences: u32,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    entries: HashMap<NodeId, Entry>,
    order: BTreeSet<(UnixMillis, NodeId)>,
}

/// Machines that somebody waits for are looked at often, the others seldom, those that nobody
/// verified or that are in maintenance never.
pub(crate) fn every(node: &Watched, limits: &Limits) -> Option<i64> {
    if node.phase.needs_power() {
        Some(limits.power_poll_busy_ms)
    } else if node.state.is_stable()
        && node.phase == Phase::Idle
        && node.state != ProvisionState::Enroll
        && !node.maintenance
    {
        Some(limits.power_poll_idle_ms)
    } else {
        None
    }
}

impl Looks {
    /// The nodes that are due, the longest waiting first; those that are left out stay due.
    pub(crate) fn due(
        &self,
        now: UnixMillis,
        limit: usize,
        is_left_out: impl Fn(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        due.filter(|id| !is_left_out(*id)).take(limit).collect()
    }

    /// When the next look is due of a node that is not left out.
    pub(crate) fn next(&self, is_left_out: impl Fn(NodeId) -> bool) -> Option<UnixMillis> {
        self.order.iter().find(|(_, id)| !is_left_out(*id)).map(|(at, _)| *at)
    }

    /// A node is known, or its turn ended: when it is looked at from now on. `look` is how that
    /// turn's look ended, if it was one.
    pub(crate) fn set(
        &mut self,
        node: &Watched,
        limits: &Limits,
        look: Option<Look>,
        now: UnixMillis,
    ) {
        let before = self.remove(node.id);
        let Some(every) = every(node, limits) else { return };
        let silences = match (look, before) {
            (Some(Look::Answered), _) | (None, None) => 0,
            (Some(Look::Silent), before) => before.unwrap_or_default().silences.saturating_add(1),
            (None, Some(before)) => before.silences,
        };
        // The first silence changes nothing: an answer may be lost.
        let factor = 1i64 << silences.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = every.saturating_mul(factor);
        let next = match (look, before) {
            (Some(_), _) => now.saturating_add(pause),
            // Nothing was seen by it: a look that was near stays near.
            (None, Some(before)) => before.next.min(now.saturating_add(pause)),
            (None, None) => now,
        };
        self.entries.insert(node.id, Entry { next, silences });
        self.order.insert((next, node.id));
    }

    /// The node is gone, or a look at it is under way.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.remove(node);
    }

    /// All times are that much later: the clock was set.
    pub(crate) fn shift(&mut self, by: i64) {
        self.order.clear();
        for (id, entry) in &mut self.entries {
            entry.next = entry.next.saturating_add(by);
            self.order.insert((entry.next, *id));
        }
    }

    fn remove(&mut self, node: NodeId) -> Option<Entry> {
        let entry = self.entries.remove(&node)?;
        self.order.remove(&(entry.next, node));
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn node(id: u128) -> Watched {
        Watched {
            id: NodeId::from_uuid(Uuid::from_u128(id)),
            state: ProvisionState::Available,
            phase: Phase::Idle,
            maintenance: false,
        }
    }

    fn limits() -> Limits {
        Limits { power_poll_idle_ms: MINUTE, power_poll_busy_ms: 5_000, ..Limits::default() }
    }

    #[test]
    fn the_longest_waiting_is_first_and_nobody_is_lost() {
        let (mut looks, limits) = (Looks::default(), limits());
        for (at, id) in [(30, 1), (10, 2), (20, 3)] {
            looks.set(&node(id), &limits, None, at);
        }
        let ids = |numbers: &[u128]| numbers.iter().map(|n| node(*n).id).collect::<Vec<_>>();
        assert_eq!(looks.due(20, 9, |_| false), ids(&[2, 3]));
        assert_eq!(looks.due(100, 2, |_| false), ids(&[2, 3]));
        assert_eq!(looks.due(100, 2, |id| id == node(2).id), ids(&[3, 1]));
        assert_eq!(looks.next(|id| id == node(2).id), Some(20));
        looks.shift(1_000);
        assert_eq!(looks.due(1_010, 9, |_| false), ids(&[2]));
        looks.forget(node(2).id);
        assert_eq!(looks.next(|_| false), Some(1_020));
    }

    #[test]
    fn who_does_not_answer_is_asked_less_often_until_he_does() {
        let (mut looks, limits, node) = (Looks::default(), limits(), node(1));
        let mut now = 0;
        let mut pauses = Vec::new();
        looks.set(&node, &limits, None, now);
        for _ in 0..7 {
            now = looks.next(|_| false).unwrap();
            looks.set(&node, &limits, Some(Look::Silent), now);
            pauses.push((looks.next(|_| false).unwrap() - now) / MINUTE);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        // A turn that did something else does not bring the look nearer, nor put it off.
        let before = looks.next(|_| false);
        looks.set(&node, &limits, None, now + 1);
        assert_eq!(looks.next(|_| false), before);
        looks.set(&node, &limits, Some(Look::Answered), now);
        assert_eq!(looks.next(|_| false), Some(now + MINUTE));
    }

    #[test]
    fn in_maintenance_and_before_it_was_verified_nobody_looks() {
        let (mut looks, limits) = (Looks::default(), limits());
        looks.set(&Watched { maintenance: true, ..node(1) }, &limits, None, 0);
        looks.set(&Watched { state: ProvisionState::Enroll, ..node(2) }, &limits, None, 0);
        assert_eq!(looks.next(|_| false), None);
        // Somebody waits for this one, and its first look is near.
        looks.set(&node(3), &limits, Some(Look::Answered), 0);
        let waited_for =
            Watched { state: ProvisionState::InspectWait, phase: Phase::AgentBoots, ..node(3) };
        looks.set(&waited_for, &limits, None, 0);
        assert_eq!(looks.next(|_| false), Some(5_000));
    }
}
