//! When to ask again: after a wait that doubles, less a random part, so that a thousand consoles
//! that lost a switch together do not come back together.

use std::time::Duration;

use crate::ipmi::random::Random;

/// The wait stops growing at this many times the first.
const GROWTH_MAX: u32 = 4;

/// The attempts of one question.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    wait: Duration,
    wait_max: Duration,
    left: u32,
    deadline: Duration,
}

impl Retry {
    /// The first of `attempts_max` attempts is made now.
    pub(super) fn new(
        first: Duration,
        attempts_max: u32,
        now: Duration,
        random: &mut Random,
    ) -> Self {
        Self::up_to(first * GROWTH_MAX, first, attempts_max, now, random)
    }

    /// The first of `attempts_max` attempts to reach somebody who may not exist. The waits do not
    /// grow: who is there answers each attempt, and nobody is kept waiting for who is not.
    pub(super) fn contact(
        first: Duration,
        attempts_max: u32,
        now: Duration,
        random: &mut Random,
    ) -> Self {
        let wait = first * 5 / 4;
        Self::up_to(wait, wait, attempts_max, now, random)
    }

    fn up_to(
        wait_max: Duration,
        wait: Duration,
        attempts_max: u32,
        now: Duration,
        random: &mut Random,
    ) -> Self {
        let left = attempts_max.max(1) - 1;
        Self { wait, wait_max, left, deadline: now + less_a_part(wait, random) }
    }

    /// A single attempt that is given `patience`.
    pub(super) fn once(patience: Duration, now: Duration) -> Self {
        Self { wait: patience, wait_max: patience, left: 0, deadline: now + patience }
    }

    /// When this attempt is over.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether there is another attempt; if so, it is made now.
    pub(super) fn again(&mut self, now: Duration, random: &mut Random) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.wait = (self.wait * 2).min(self.wait_max);
        self.deadline = now + less_a_part(self.wait, random);
        true
    }
}

/// Between three quarters of it and all of it.
pub(super) fn less_a_part(wait: Duration, random: &mut Random) -> Duration {
    let [byte, ..] = random.block();
    wait * (192 + u32::from(byte) / 4) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let mut random = Random::new(&[1; 32]);
        let first = Duration::from_millis(1000);
        let mut retry = Retry::new(first, 5, Duration::ZERO, &mut random);
        let mut now = Duration::ZERO;
        for (attempt, wait) in [1000, 2000, 4000, 4000, 4000].into_iter().enumerate() {
            let waited = retry.deadline() - now;
            let (least, most) = (Duration::from_millis(wait * 3 / 4), Duration::from_millis(wait));
            assert!(least <= waited && waited <= most, "{waited:?} of {wait} ms");
            now = retry.deadline();
            assert_eq!(retry.again(now, &mut random), attempt < 4);
        }
    }

    #[test]
    fn two_consoles_do_not_keep_step() {
        let waits = |seed| {
            let mut random = Random::new(&[seed; 32]);
            let mut retry = Retry::new(Duration::from_secs(1), 4, Duration::ZERO, &mut random);
            let mut waits = vec![retry.deadline()];
            while retry.again(retry.deadline(), &mut random) {
                waits.push(retry.deadline());
            }
            waits
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1).len(), 4);
    }
}
