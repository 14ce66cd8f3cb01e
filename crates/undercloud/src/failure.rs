//! How a command fails: one sentence, what to do about it, and an exit code that scripts can trust.

use undercloud_model::ErrorKind;

/// A failure that a person reads.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: ErrorKind,
    /// One sentence: what failed, and on which machine.
    pub(crate) message: String,
    /// What to do. A command where there is one.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure without a remedy yet.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The exit code for `error`. 0 is success and 2 a wrong command line (clap's own).
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<Failure>().map(|f| f.kind));
    match kind {
        Some(ErrorKind::Invalid) => 2,
        Some(ErrorKind::NotFound) => 3,
        Some(ErrorKind::Conflict) => 4,
        Some(ErrorKind::Denied) => 5,
        Some(ErrorKind::Busy) => 6,
        Some(ErrorKind::Unavailable) => 7,
        Some(ErrorKind::Bug) | None => 1,
    }
}

/// What a person is shown: the chain of causes on one line, then the remedies.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    for cause in error.chain() {
        if let Some(hint) = cause.downcast_ref::<Failure>().and_then(|f| f.hint.as_ref()) {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_kind_and_the_hint_survive_context() {
        let error = Err::<(), _>(
            Failure::new(ErrorKind::NotFound, "there is no node `x`").hint("undercloud node list"),
        )
        .context("cannot deploy")
        .unwrap_err();
        assert_eq!(exit_code(&error), 3);
        assert_eq!(
            describe(&error),
            "error: cannot deploy: there is no node `x`\nhint: undercloud node list"
        );
    }
}
