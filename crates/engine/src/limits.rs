//! How much is done at once, and how often.

use std::time::Duration;

/// Bounds of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Nodes that something is done for at the same time. A turn may wait for its BMC.
    pub turns_max: usize,
    /// The same of nodes whose BMC is silent or was never asked, beside those: however many they
    /// are, the others get their turns. Each of them only waits.
    pub unheard_turns_max: usize,
    /// Nodes whose power is looked at at the same time, beside those.
    pub looks_max: usize,
    /// Tries of one BMC action while the BMC does not answer.
    pub bmc_attempts_max: u32,
    /// Between two tries.
    pub bmc_retry_wait: Duration,
    /// For how long an action is tried again while the BMC answers that it cannot now: while it or
    /// the machine starts.
    pub bmc_unwell_max: Duration,
    /// For one try, its wait for the power to follow not included.
    pub bmc_try_max: Duration,
    /// For one try of showing a machine an image, which its BMC may fetch before it answers.
    pub media_try_max: Duration,
    /// For the power to follow an order.
    pub power_follows_max: Duration,
    /// Between two looks at whether it did.
    pub power_look_every: Duration,
    /// Between two looks at the power of a machine that somebody waits for.
    pub power_poll_busy_ms: i64,
    /// Between two looks at the power of a machine that nobody waits for.
    pub power_poll_idle_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            turns_max: 32,
            unheard_turns_max: 128,
            looks_max: 32,
            bmc_attempts_max: 3,
            bmc_retry_wait: Duration::from_secs(2),
            bmc_unwell_max: Duration::from_secs(90),
            bmc_try_max: Duration::from_secs(20),
            media_try_max: Duration::from_secs(150),
            power_follows_max: Duration::from_secs(60),
            power_look_every: Duration::from_millis(500),
            power_poll_busy_ms: 5_000,
            power_poll_idle_ms: 60_000,
        }
    }
}

impl Limits {
    /// For one try, by what is asked for.
    pub(crate) const fn try_max(&self, inserts_media: bool) -> Duration {
        if inserts_media { self.media_try_max } else { self.bmc_try_max }
    }
}
