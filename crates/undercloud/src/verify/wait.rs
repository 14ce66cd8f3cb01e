//! Waiting for a condition, with a bound, and a sentence when it does not come.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use undercloud_model::ErrorKind;

use crate::failure::Failure;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What a look saw.
#[derive(Debug)]
pub(super) enum Seen<T> {
    /// The condition holds.
    Yes(T),
    /// It does not; what is seen instead.
    NotYet(String),
}

/// Looks until the condition holds.
///
/// # Errors
/// That of a look, or that `what` did not come about in time.
pub(super) fn until<T>(
    what: &str,
    bound: Duration,
    hint: &str,
    mut look: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let deadline = Instant::now() + bound;
    loop {
        let last = match look()? {
            Seen::Yes(value) => return Ok(value),
            Seen::NotYet(last) => last,
        };
        if Instant::now() >= deadline {
            let message = format!("{what} did not come about within {} s: {last}", bound.as_secs());
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(hint).into());
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_was_seen_last() {
        let mut looks = 0;
        let look = || {
            looks += 1;
            Ok::<_, anyhow::Error>(if looks < 2 {
                Seen::NotYet("no".into())
            } else {
                Seen::Yes(looks)
            })
        };
        assert_eq!(until("x", Duration::from_secs(9), "", look).unwrap(), 2);
        let never = || Ok(Seen::<()>::NotYet("its status is BUILD".into()));
        let error = until("an active server", Duration::ZERO, "look", never).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an active server did not come about within 0 s: its status is BUILD"
        );
    }
}
