//! How much a service has to bear: polling has brought real controllers down.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Requests to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests that may come at once.
    pub burst: u32,
    /// After those, one per this time.
    pub interval: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { burst: 20, interval: Duration::from_millis(200) }
    }
}

/// Keeps a budget: each request takes its turn.
#[derive(Debug)]
pub(super) struct Governor {
    budget: Budget,
    /// When all of the budget will be there again.
    full_at: Mutex<Instant>,
}

impl Governor {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, full_at: Mutex::new(Instant::now()) }
    }

    /// When the next request may go out.
    fn reserve(&self, now: Instant) -> Instant {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.budget.interval * self.budget.burst.saturating_sub(1);
        let turn = full_at.checked_sub(saved).map_or(now, |turn| turn.max(now));
        *full_at = (*full_at).max(now) + self.budget.interval;
        turn
    }

    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let turn = self.reserve(now);
        if turn > now {
            sleep_until(turn).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_there_is_a_pace() {
        let interval = Duration::from_secs(1);
        let governor = Governor::new(Budget { burst: 3, interval });
        let now = Instant::now() + Duration::from_secs(10);
        let turns: Vec<_> = (0..5).map(|_| governor.reserve(now) - now).collect();
        let seconds = |n| Duration::from_secs(n);
        assert_eq!(turns, [seconds(0), seconds(0), seconds(0), seconds(1), seconds(2)]);
        assert_eq!(governor.reserve(now + seconds(100)), now + seconds(100));
    }
}
