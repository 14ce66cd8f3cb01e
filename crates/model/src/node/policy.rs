//! How long things may take, and what else a decision may look at.

use serde::{Deserialize, Serialize};

use super::Work;
use crate::UnixMillis;

/// What a site decides. The times are bounds, generous enough for emulated machines; a wait that
/// ends sooner ends at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Whether a ramdisk whose agent still calls is used again by the next verb, instead of
    /// switching the machine off after each (Ironic's `fast_track`).
    pub fast_track: bool,
    /// How lately an agent must have called to be used again.
    pub fast_track_age_ms: i64,
    /// For one action on the BMC, its retries included.
    pub bmc_ms: i64,
    /// For an operating system to shut down when it is asked to.
    pub soft_off_ms: i64,
    /// From power on to the agent's hello.
    pub agent_boots_ms: i64,
    /// From the last file of a network boot to the agent's hello: what a kernel takes to start.
    pub ramdisk_starts_ms: i64,
    /// For an inventory.
    pub inspect_ms: i64,
    /// For a wipe.
    pub wipe_ms: i64,
    /// For a write.
    pub write_ms: i64,
    /// From power on to the installed agent's first call.
    pub installed_boots_ms: i64,
    /// How long an agent that has work may stay silent.
    pub agent_silence_ms: i64,
    /// What everything that waits for an agent is given after this daemon started: while it was
    /// away, nobody could call.
    pub restart_grace_ms: i64,
}

impl Default for Policy {
    fn default() -> Self {
        const MINUTE: i64 = 60_000;
        Self {
            fast_track: true,
            fast_track_age_ms: MINUTE,
            bmc_ms: 3 * MINUTE,
            soft_off_ms: 5 * MINUTE,
            agent_boots_ms: 10 * MINUTE,
            ramdisk_starts_ms: 4 * MINUTE,
            inspect_ms: 5 * MINUTE,
            wipe_ms: 15 * MINUTE,
            write_ms: 60 * MINUTE,
            installed_boots_ms: 20 * MINUTE,
            agent_silence_ms: 2 * MINUTE,
            restart_grace_ms: 2 * MINUTE,
        }
    }
}

impl Policy {
    /// How long `work` may take.
    pub const fn work_ms(&self, work: &Work) -> i64 {
        match work {
            Work::Inspect => self.inspect_ms,
            Work::Wipe { .. } => self.wipe_ms,
            Work::Write { .. } => self.write_ms,
        }
    }
}

/// What a decision looks at beside the node.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The site's policy.
    pub policy: &'a Policy,
    /// Now.
    pub now: UnixMillis,
    /// Since when this daemon listens.
    pub listening_since: UnixMillis,
    /// When the ramdisk's agent called last, if it has a session.
    pub ramdisk_seen_at: Option<UnixMillis>,
    /// How far the network boot of the open window came.
    pub boot_progress: BootProgress,
    /// When that window was opened.
    pub boot_opened_at: Option<UnixMillis>,
}

impl Context<'_> {
    /// `ms` from now.
    pub const fn after(&self, ms: i64) -> UnixMillis {
        self.now.saturating_add(ms)
    }

    /// Whether the ramdisk that runs now may be used without a boot.
    pub fn ramdisk_is_fresh(&self) -> bool {
        let age = |seen: UnixMillis| self.now.saturating_sub(seen);
        self.policy.fast_track
            && self.ramdisk_seen_at.is_some_and(|seen| age(seen) <= self.policy.fast_track_age_ms)
    }

    /// Whether the agent has been silent for too long. An agent without a session is.
    pub fn ramdisk_is_silent(&self) -> bool {
        let silent = |seen| self.now.saturating_sub(seen) > self.policy.agent_silence_ms;
        self.ramdisk_seen_at.is_none_or(|seen| silent(seen.max(self.listening_since)))
    }

    /// Whether the machine was switched on before this daemon listened: then it may have asked for
    /// its boot when nobody answered, and stand there.
    pub fn boot_was_unheard(&self) -> bool {
        self.boot_opened_at.is_some_and(|opened| opened < self.listening_since)
    }

    /// Whether `deadline` has passed, and this daemon has listened for long enough to know.
    pub const fn is_past(&self, deadline: UnixMillis) -> bool {
        let grace = self.listening_since.saturating_add(self.policy.restart_grace_ms);
        self.now >= deadline && self.now >= grace
    }
}

/// How far a network boot came, as the servers saw it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum BootProgress {
    /// Nothing was heard of it.
    #[default]
    Silent,
    /// It asked for an address.
    Dhcp,
    /// It fetched a boot program.
    Program,
    /// It fetched the boot script.
    Script,
    /// It fetched the kernel.
    Kernel,
    /// It fetched the ramdisk with its identity.
    Ramdisk,
}
