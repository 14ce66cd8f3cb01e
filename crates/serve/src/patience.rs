//! What to do when a socket gives an error: say so, wait a little, and go on.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep_until};

/// The pause after an error that does not pass by itself.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Errors that pass, one after the other, before they cost a pause, too.
const PASSING_MAX: u32 = 64;
/// A failure that lasts is said again after this time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Whether a socket that gave this error goes on working: an ICMP answer to an earlier packet, an
/// interface that is down, a connection that ended before it was accepted.
#[must_use]
pub fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::HostUnreachable
            | E::NetworkUnreachable
            | E::NetworkDown
            | E::Interrupted
            | E::WouldBlock
    )
}

/// A failure that lasts.
#[derive(Debug)]
struct Failing {
    since: Instant,
    said: Instant,
    errors: u64,
}

/// Keeps one socket's loop going.
#[derive(Debug)]
pub struct Patience {
    what: &'static str,
    passing: u32,
    failing: Option<Failing>,
    pause_until: Option<Instant>,
}

impl Patience {
    /// Of a socket that serves `what`, as the log names it.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, passing: 0, failing: None, pause_until: None }
    }

    /// Waits for the rest of a pause; call it before the socket is asked again. Giving up loses
    /// nothing: the pause goes on.
    pub async fn wait(&mut self) {
        if let Some(until) = self.pause_until {
            sleep_until(until).await;
            self.pause_until = None;
        }
    }

    /// What came, or nothing after an error, which is said and paused for.
    pub fn heed<T>(&mut self, came: io::Result<T>) -> Option<T> {
        let what = self.what;
        match came {
            Ok(came) => {
                self.passing = 0;
                if let Some(Failing { since, errors, .. }) = self.failing.take() {
                    let seconds = since.elapsed().as_secs();
                    tracing::info!(what, errors, seconds, "the socket works again");
                }
                Some(came)
            }
            Err(error) if is_passing(&error) && self.passing < PASSING_MAX => {
                self.passing += 1;
                tracing::debug!(what, %error, "socket error that passes");
                None
            }
            Err(error) => {
                let now = Instant::now();
                self.pause_until = Some(now + PAUSE);
                let is_new = self.failing.is_none();
                let failing =
                    self.failing.get_or_insert(Failing { since: now, said: now, errors: 0 });
                failing.errors += 1;
                if is_new || now - failing.said >= SAY_AGAIN {
                    failing.said = now;
                    let errors = failing.errors;
                    tracing::warn!(what, %error, errors, "the socket fails; trying until it works");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EMFILE: the process has no descriptors left.
    fn no_descriptors() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[tokio::test]
    async fn an_error_costs_a_pause_and_what_comes_then_none() {
        let mut patience = Patience::new("test");
        let start = Instant::now();
        assert_eq!(patience.heed::<u8>(Err(no_descriptors())), None);
        patience.wait().await;
        assert!(start.elapsed() >= PAUSE);
        assert_eq!(patience.heed(Ok(1)), Some(1));
        assert!(patience.pause_until.is_none(), "nothing to wait for");
    }

    #[tokio::test]
    async fn a_pause_that_was_given_up_goes_on() {
        let mut patience = Patience::new("test");
        let start = Instant::now();
        let _nothing = patience.heed::<u8>(Err(no_descriptors()));
        let given_up = tokio::time::timeout(PAUSE / 4, patience.wait()).await;
        assert!(given_up.is_err());
        patience.wait().await;
        assert!(start.elapsed() >= PAUSE);
    }

    #[tokio::test]
    async fn errors_that_pass_cost_nothing_unless_nothing_else_comes() {
        let mut patience = Patience::new("test");
        let start = Instant::now();
        let refused = || Err::<u8, _>(io::ErrorKind::ConnectionRefused.into());
        for _ in 0..PASSING_MAX {
            assert_eq!(patience.heed(refused()), None);
            assert!(patience.pause_until.is_none());
        }
        let _nothing = patience.heed(refused());
        patience.wait().await;
        assert!(start.elapsed() >= PAUSE, "no loop without an end");
    }
}
