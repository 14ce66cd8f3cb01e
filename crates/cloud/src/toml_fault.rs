//! What is wrong with a TOML file, in one line: where, what, and the key that was meant.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::nearest::suggestion;

/// A fault of a TOML file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlFault {
    /// Its line, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for TomlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads `text`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let mut problem = error.message().trim().replace('\n', ", ");
        if let Some((unknown, expected)) = problem.split_once(", expected ")
            && let Some(word) = unknown.strip_prefix("unknown field ")
        {
            let hint = suggestion(word.trim_matches('`'), expected.split('`').skip(1).step_by(2));
            problem.push_str(&hint);
        }
        // A value of a wrong kind is said without its key, which is on the same line.
        let line = before
            .and_then(|before| text[before.rfind('\n').map_or(0, |at| at + 1)..].lines().next());
        let key = line.and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
        if let Some(key) = key.filter(|_| !problem.contains('`')) {
            problem = format!("`{key}`: {problem}");
        }
        TomlFault { line: before.map(|b| b.matches('\n').count() + 1), problem }
    })
}
