//! What bounds an attacker: how many handshakes wait, and how many sessions live. How often one
//! address may guess is in [`crate::failures`].

use std::time::Duration;

pub use crate::failures::{FAILURE_COST, FAILURES_BURST, Failures, culprit};

/// Handshakes under way, in all; then the oldest goes.
pub const HALF_OPEN_MAX: usize = 256;
/// Handshakes under way from one address; then its oldest goes, and nobody else's.
pub const HALF_OPEN_PER_SOURCE_MAX: usize = 64;
/// How long a handshake may take.
pub const HALF_OPEN_AGE_MAX: Duration = Duration::from_secs(20);
/// Open sessions; then the one that has been idle for longest goes. Only who knows the password
/// gets that far.
pub const SESSIONS_MAX: usize = 64;
/// A session that says nothing ends (section 6.12.15: 60 s, give or take 3).
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long sessions live on after a cold reset, so that clients can close theirs.
pub const COLD_RESET_DELAY: Duration = Duration::from_secs(1);
/// For how long a request with the same number and the same bytes is the same request.
pub const DUPLICATE_AGE_MAX: Duration = Duration::from_secs(5);
/// Requests of one session that are remembered, or under way.
pub const RECENT_MAX: usize = 8;
