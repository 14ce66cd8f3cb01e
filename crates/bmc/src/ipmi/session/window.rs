//! Which packet numbers have been seen (section 6.12.13): every number is taken once.

const WIDTH: u32 = 64;

/// The numbers taken, up to sixty-four behind the highest. Numbers are looked at only after the
/// packet's integrity code was found right, so that nobody else can move the window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    highest: u32,
    /// Bit `n`: `highest - n` was seen.
    seen: u64,
}

/// What a number is to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never before; it is now.
    Fresh,
    /// Before: a retransmission or a replay.
    Again,
    /// Too old to tell, or zero, which is not used inside a session.
    Old,
}

impl Window {
    /// Takes `number`.
    pub fn take(&mut self, number: u32) -> Seen {
        if number == 0 {
            return Seen::Old;
        }
        if let Some(ahead) = number.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
            return Seen::Fresh;
        }
        let behind = self.highest.saturating_sub(number);
        if behind >= WIDTH {
            return Seen::Old;
        }
        let bit = 1u64 << behind;
        if self.seen & bit != 0 {
            return Seen::Again;
        }
        self.seen |= bit;
        Seen::Fresh
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_does_not_matter_within_the_window() {
        let mut window = Window::default();
        let taken: Vec<Seen> =
            [1, 3, 2, 3, 100, 37, 36, 0, u32::MAX].into_iter().map(|n| window.take(n)).collect();
        use Seen::{Again, Fresh, Old};
        assert_eq!(taken, [Fresh, Fresh, Fresh, Again, Fresh, Fresh, Old, Old, Fresh]);
    }

    proptest! {
        #[test]
        fn nothing_is_fresh_twice(numbers in proptest::collection::vec(0u32..200, 0..300)) {
            let mut window = Window::default();
            let mut fresh = HashSet::new();
            for number in numbers {
                if window.take(number) == Seen::Fresh {
                    prop_assert!(fresh.insert(number), "{} twice", number);
                }
            }
        }
    }
}
