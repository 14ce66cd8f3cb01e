//! Waiting for a condition, with a bound, and a sentence when it does not come.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use undercloud_api::admin::Trouble;
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

/// What is known to be wrong with the cloud's machines ends a wait that has lasted this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends a wait for what will not come: its reason is known to those who watch the cloud.
#[derive(Debug)]
pub(super) struct Watched<F> {
    begun: Instant,
    patience: Duration,
    troubles: F,
}

impl<F: Fn() -> Result<Vec<Trouble>>> Watched<F> {
    pub(super) fn new(troubles: F) -> Self {
        Self { begun: Instant::now(), patience: PATIENCE, troubles }
    }

    /// # Errors
    /// What is wrong with a machine of the cloud, once it was waited for a while.
    pub(super) fn look(&self, waits_for: &str) -> Result<()> {
        if self.begun.elapsed() < self.patience {
            return Ok(());
        }
        let troubles = (self.troubles)()?;
        let Some(trouble) = troubles.into_iter().find(|trouble| trouble.machine.is_some()) else {
            return Ok(());
        };
        let Trouble { machine, message, hint, .. } = trouble;
        let machine = machine.unwrap_or_default();
        let failure = Failure::new(
            ErrorKind::Unavailable,
            format!("{waits_for} does not come about: {machine}: {message}"),
        );
        Err(match hint {
            Some(hint) => failure.hint(hint).into(),
            None => failure.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_be_wrong_ends_a_wait() {
        let trouble = |machine: Option<&str>| Trouble {
            part: "cloud".into(),
            since: 1,
            message: "the machine is switched off".into(),
            hint: Some("undercloud node power on compute-0".into()),
            machine: machine.map(str::to_owned),
            service: None,
            said: Vec::new(),
        };
        let at_once = |troubles: Vec<Trouble>| Watched {
            begun: Instant::now(),
            patience: Duration::ZERO,
            troubles: move || Ok(troubles.clone()),
        };
        assert!(at_once(vec![]).look("a server").is_ok());
        assert!(at_once(vec![trouble(None)]).look("a server").is_ok(), "not of a machine");
        let error = at_once(vec![trouble(Some("compute-0"))]).look("a server").unwrap_err();
        let text = crate::failure::describe(&error);
        assert!(text.contains("a server does not come about: compute-0: the machine is"), "{text}");
        assert!(text.contains("hint: undercloud node power on"), "{text}");
        assert!(Watched::new(|| Ok(vec![trouble(Some("a"))])).look("a server").is_ok(), "patience");
    }

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
