//! Ctrl-C, and what a command says that stops waiting before the daemon is done: that the work goes
//! on, and how to look at it. Commands wait by [`crate::daemon_client::Daemon::wait`].

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use undercloud_model::ErrorKind;

use crate::failure::Failure;

/// What the daemon goes on with, also when nobody waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// As in "the daemon goes on with …".
    what: String,
    /// How to look at it.
    look: String,
}

impl Work {
    pub(crate) fn new(what: impl Into<String>, look: impl Into<String>) -> Self {
        Self { what: what.into(), look: look.into() }
    }

    /// Ctrl-C was pressed.
    pub(crate) fn closed(&self) -> anyhow::Error {
        self.goes_on("you stopped waiting")
    }

    /// It took longer than the command was told to wait.
    pub(crate) fn too_long(&self) -> anyhow::Error {
        self.goes_on("the time to wait is over")
    }

    fn goes_on(&self, why: &str) -> anyhow::Error {
        let message = format!("{why}; the daemon goes on with {}", self.what);
        Failure::new(ErrorKind::Busy, message).hint(&self.look).into()
    }
}

/// Ctrl-C was pressed while the daemon was asked for something short: it did it, or did not.
pub(crate) fn cut_short() -> anyhow::Error {
    Failure::new(ErrorKind::Busy, "stopped before the daemon answered")
        .hint("undercloud status, undercloud events show what it took up")
        .into()
}

/// Ctrl-C from now on, which ends this process no more. On a runtime.
///
/// # Errors
/// The system does not tell.
pub(crate) fn interrupts() -> Result<Signal> {
    signal(SignalKind::interrupt()).context("cannot watch for SIGINT")
}
