//! What a verification found: kept with the deployment, and shown.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    failure,
    out::{self, Format, Out},
};

/// A verification that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifyReport {
    /// Its steps, in order.
    pub(crate) steps: Vec<Step>,
    /// All of it, in milliseconds.
    pub(crate) took_ms: u64,
    /// The server that was made.
    pub(crate) server: String,
    /// The address at which it answered.
    pub(crate) floating_address: String,
}

/// A step that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What was looked at.
    pub(crate) name: String,
    /// What was seen.
    pub(crate) detail: String,
    /// In milliseconds.
    pub(crate) took_ms: u64,
}

/// Runs steps one after the other, and notes what they saw and how long they took.
#[derive(Debug)]
pub(super) struct Recorder {
    out: Out,
    started: Instant,
    steps: Vec<Step>,
}

impl Recorder {
    pub(super) fn new(out: Out) -> Self {
        Self { out, started: Instant::now(), steps: Vec::new() }
    }

    /// Where it prints.
    pub(super) const fn out(&self) -> Out {
        self.out
    }

    /// Runs one step. Its failure says which step it was.
    pub(super) fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        let started = Instant::now();
        let mut seen = String::new();
        let noted = || {
            let (value, detail) = work()?;
            seen.clone_from(&detail);
            Ok((value, detail))
        };
        let result = match self.out.format() {
            Format::Table => self.out.step(name, noted),
            Format::Json => noted().map(|(value, _)| value),
        };
        let value = result.with_context(|| format!("{name} failed"))?;
        self.steps.push(Step { name: name.to_owned(), detail: seen, took_ms: ms(started) });
        Ok(value)
    }

    pub(super) fn finish(self, server: String, floating_address: String) -> VerifyReport {
        VerifyReport { took_ms: ms(self.started), steps: self.steps, server, floating_address }
    }
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What is kept with the deployment: the report, or why there is none.
pub(crate) fn kept(report: &Result<VerifyReport>) -> Value {
    match report {
        Ok(report) => json!({ "passed": true, "report": report }),
        Err(error) => json!({ "passed": false, "failure": failure::describe(error) }),
    }
}

/// One line on what was kept, if the check was passed.
pub(crate) fn passed(kept: Option<&Value>) -> Option<String> {
    kept.filter(|kept| kept["passed"] == true).map(|kept| summary(Some(kept)))
}

/// One line on what was kept.
pub(crate) fn summary(kept: Option<&Value>) -> String {
    let Some(kept) = kept else { return "-".to_owned() };
    if kept["passed"] == true {
        let ms = kept["report"]["took_ms"].as_u64().unwrap_or_default();
        return format!("passed in {}", out::seconds(Duration::from_millis(ms)));
    }
    let said = kept["failure"].as_str().unwrap_or("failed");
    let first = said.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

/// Shows the report; people have seen its steps go by.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn print(out: Out, report: &VerifyReport) -> Result<()> {
    if out.format() == Format::Json {
        return out.json(report);
    }
    let took = out::seconds(Duration::from_millis(report.took_ms));
    let (steps, address) = (report.steps.len(), &report.floating_address);
    out.line(format_args!(
        "the cloud works: {steps} checks in {took}; a server answered at {address}"
    ))
}

#[cfg(test)]
mod tests {
    use undercloud_model::ErrorKind;

    use super::*;
    use crate::failure::Failure;

    #[test]
    fn what_is_kept_can_be_read_again() {
        let step = Step { name: "token".into(), detail: "ok".into(), took_ms: 10 };
        let report = VerifyReport {
            steps: vec![step],
            took_ms: 35_000,
            server: "d8e0".into(),
            floating_address: "10.0.0.100".into(),
        };
        let good = kept(&Ok(report.clone()));
        assert_eq!(serde_json::from_value::<VerifyReport>(good["report"].clone()).unwrap(), report);
        assert_eq!(summary(Some(&good)), "passed in 35 s");
        let failure = Failure::new(ErrorKind::Unavailable, "Glance does not answer").hint("look");
        let bad = kept(&Err(anyhow::Error::from(failure).context("images failed")));
        assert_eq!(summary(Some(&bad)), "images failed: Glance does not answer");
        assert!(bad["failure"].as_str().unwrap().ends_with("hint: look"));
        assert_eq!(summary(None), "-");
    }
}
