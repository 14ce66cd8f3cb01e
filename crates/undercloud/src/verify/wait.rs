//! Waiting for a condition, with a bound, and a sentence when it does not come.

use std::{
    cell::Cell,
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

/// What is known to be wrong with the cloud's machines ends a wait that has lasted this long; a machine
/// that is not there ends it at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two times that the daemon is asked for it.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Ends a wait for what will not come: its reason is known to those who watch the cloud.
#[derive(Debug)]
pub(super) struct Watched<F> {
    begun: Instant,
    patience: Duration,
    asked: Cell<Option<Instant>>,
    troubles: F,
}

impl<F: Fn() -> Result<Vec<Trouble>>> Watched<F> {
    pub(super) fn new(troubles: F) -> Self {
        Self { begun: Instant::now(), patience: PATIENCE, asked: Cell::new(None), troubles }
    }

    /// What a look saw, unless it is known why it will see no more.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(super) fn looked<T>(&self, waits_for: &str, seen: Seen<T>) -> Result<Seen<T>> {
        if matches!(seen, Seen::NotYet(_)) {
            self.look(waits_for)?;
        }
        Ok(seen)
    }

    /// # Errors
    /// What is wrong with a machine of the cloud: that it is not there, or, once it was waited for a
    /// while, anything.
    pub(super) fn look(&self, waits_for: &str) -> Result<()> {
        let is_recent = |asked: Instant| asked.elapsed() < ASK_EVERY;
        if self.asked.get().is_some_and(is_recent) {
            return Ok(());
        }
        self.asked.set(Some(Instant::now()));
        let is_late = self.begun.elapsed() >= self.patience;
        match of_machine((self.troubles)()?, is_late) {
            Some(trouble) => {
                Err(because(trouble, format_args!("{waits_for} does not come about")).into())
            }
            None => Ok(()),
        }
    }
}

/// What is wrong with a machine: first that one is not there.
fn of_machine(troubles: Vec<Trouble>, any: bool) -> Option<Trouble> {
    let mut troubles: Vec<Trouble> =
        troubles.into_iter().filter(|trouble| trouble.machine.is_some()).collect();
    let absent = troubles.iter().position(|trouble| trouble.is_absent);
    let index = absent.or_else(|| (any && !troubles.is_empty()).then_some(0))?;
    Some(troubles.swap_remove(index))
}

fn because(trouble: Trouble, what: impl std::fmt::Display) -> Failure {
    let Trouble { machine, message, hint, .. } = trouble;
    let machine = machine.unwrap_or_default();
    let message = format!("{machine}: {message}: {what}");
    Failure { kind: ErrorKind::Unavailable, message, hint }
}

/// `error`, and why, where a machine of the cloud is not there: nothing that fails without it says
/// that.
pub(super) fn explained(
    error: anyhow::Error,
    troubles: impl Fn() -> Result<Vec<Trouble>>,
) -> anyhow::Error {
    // A wait has looked already.
    let absent = troubles().ok().and_then(|troubles| of_machine(troubles, false));
    match absent {
        Some(trouble) if !format!("{error:#}").contains(&trouble.message) => {
            because(trouble, format_args!("{error:#}")).into()
        }
        Some(_) | None => error,
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
            is_absent: false,
            said: Vec::new(),
        };
        let at_once = |troubles: Vec<Trouble>| Watched {
            begun: Instant::now(),
            patience: Duration::ZERO,
            asked: Cell::new(None),
            troubles: move || Ok(troubles.clone()),
        };
        assert!(at_once(vec![]).look("a server").is_ok());
        assert!(at_once(vec![trouble(None)]).look("a server").is_ok(), "not of a machine");
        let error = at_once(vec![trouble(Some("compute-0"))]).look("a server").unwrap_err();
        let text = crate::failure::describe(&error);
        assert!(
            text.contains("compute-0: the machine is switched off: a server does not come about"),
            "{text}"
        );
        assert!(text.contains("hint: undercloud node power on"), "{text}");
        assert!(Watched::new(|| Ok(vec![trouble(Some("a"))])).look("a server").is_ok(), "patience");
        // For a machine that is not there, none; and it is named before what follows from it.
        let absent = || Trouble { is_absent: true, ..trouble(Some("compute-0")) };
        let both = || Ok(vec![trouble(Some("controller-0")), absent()]);
        let error = Watched::new(both).look("a server").unwrap_err();
        assert!(error.to_string().starts_with("compute-0: the machine is"), "{error}");

        let failed = || anyhow::anyhow!("cannot connect").context("login failed");
        let error = crate::failure::describe(&explained(failed(), both));
        assert_eq!(
            error,
            "error: compute-0: the machine is switched off: login failed: cannot connect\n\
             hint: undercloud node power on compute-0"
        );
        let none = explained(failed(), || Ok(vec![trouble(Some("controller-0"))]));
        assert_eq!(format!("{none:#}"), "login failed: cannot connect");
        let again = explained(anyhow::anyhow!("the machine is switched off"), both);
        assert_eq!(again.to_string(), "the machine is switched off");
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
