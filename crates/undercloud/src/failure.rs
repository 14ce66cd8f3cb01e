//! How a command fails: one sentence, what to do about it, and an exit code that scripts can trust.

use std::{io, path::Path};

use serde::Serialize;
use undercloud_model::ErrorKind;

use crate::typed;

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

/// A failure as programs read it: the shape that the daemon's own errors have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Decides the exit code; absent where nobody told kinds apart (exit code 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) message: String,
    /// What to do, a line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// What `-o json` prints in place of an answer.
#[derive(Debug, Serialize)]
pub(crate) struct ShownError {
    error: Shown,
}

impl From<Shown> for ShownError {
    fn from(error: Shown) -> Self {
        Self { error }
    }
}

/// A wrong command line, in clap's words.
pub(crate) fn of_command_line(error: &clap::Error) -> Shown {
    let text = error.render().to_string();
    // The sentence ends where advice begins: an empty line before it.
    let sentence: Vec<&str> = text.lines().map(str::trim).take_while(|l| !l.is_empty()).collect();
    let sentence = sentence.join(" ");
    let message = sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned();
    let hint = Some("undercloud --help".to_owned());
    Shown { kind: Some(ErrorKind::Invalid), message, hint }
}

/// `error` as programs read it; commands in its hints are given `state`.
pub(crate) fn shown(error: &anyhow::Error, state: Option<&Path>) -> Shown {
    let hints: Vec<&str> = hints(error).collect();
    let hint = (!hints.is_empty()).then(|| typed::with_state(&hints.join("\n"), state));
    Shown { kind: kind(error), message: format!("{error:#}"), hint }
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    let told = error.chain().find_map(|cause| cause.downcast_ref::<Failure>().map(|f| f.kind));
    // Files that people name: what is not there and what is not theirs is told apart everywhere.
    let of_system = || {
        let found = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>())?;
        match found.kind() {
            io::ErrorKind::NotFound => Some(ErrorKind::NotFound),
            io::ErrorKind::PermissionDenied => Some(ErrorKind::Denied),
            io::ErrorKind::StorageFull => Some(ErrorKind::Unavailable),
            _ => None,
        }
    };
    told.or_else(of_system)
}

fn hints(error: &anyhow::Error) -> impl Iterator<Item = &str> {
    error.chain().filter_map(|cause| match cause.downcast_ref::<Failure>() {
        Some(failure) => failure.hint.as_deref(),
        None => match cause.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::StorageFull => {
                Some("free some space; `df -h` shows where there is none")
            }
            _ => None,
        },
    })
}

/// The exit code for `error`. 0 is success and 2 a wrong command line (clap's own).
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match kind(error) {
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
    for hint in hints(error) {
        text.push_str("\nhint: ");
        text.push_str(hint);
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
        assert_eq!(
            serde_json::to_value(ShownError::from(shown(&error, None))).unwrap(),
            serde_json::json!({"error": {
                "kind": "not_found",
                "message": "cannot deploy: there is no node `x`",
                "hint": "undercloud node list",
            }})
        );
    }

    #[test]
    fn what_the_system_says_of_a_file_has_a_kind() {
        for (said, code) in [
            (io::ErrorKind::NotFound, 3),
            (io::ErrorKind::PermissionDenied, 5),
            (io::ErrorKind::StorageFull, 7),
            (io::ErrorKind::Interrupted, 1),
        ] {
            let error = Err::<(), _>(io::Error::from(said)).context("cannot read x").unwrap_err();
            assert_eq!(exit_code(&error), code, "{said}");
        }
        let error = anyhow::Error::from(Failure::new(ErrorKind::Busy, "later"))
            .context(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(exit_code(&error), 6, "what was told comes first");
    }
}
