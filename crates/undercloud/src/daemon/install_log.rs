//! The logs of the cloud's installation: every line, those of one deployment, and the failures with
//! their evidence.

use std::path::PathBuf;

use undercloud_cloud::rollout::Happened;

use super::log_files;
use crate::clock;

/// Every installation's lines.
const ALL: &str = "overcloud_install.log";
/// Every failure, with what the machine said before it.
const FAILURES: &str = "openstack_failures_long.log";

/// The logs of one deployment's run.
#[derive(Debug)]
pub(crate) struct InstallLog {
    folder: PathBuf,
    deployment: i64,
}

impl InstallLog {
    pub(crate) fn new(folder: PathBuf, deployment: i64) -> Self {
        Self { folder, deployment }
    }

    /// One line in the log of all installations and in this deployment's.
    pub(crate) fn line(&self, text: &str) {
        let line = format!("{} {text}\n", clock::rfc3339(clock::now_ms()));
        self.append(ALL, &line);
        self.append(&format!("overcloud_deployment_{}.log", self.deployment), &line);
    }

    /// What happened in a rollout, as one line; a failure also goes to the log of failures.
    pub(crate) fn happened(&self, happened: &Happened<'_>) {
        self.line(&describe(happened));
        if let Happened::Failed { step, failure } = happened {
            let at = clock::rfc3339(clock::now_ms());
            let (number, machine) = (self.deployment, &step.machine);
            let text = format!(
                "{at} deployment {number}, {machine}, {}: {}\n    what the machine said is in \
                 overcloud-full-{machine}.log\n",
                step.title, failure.message
            );
            self.append(FAILURES, &text);
        }
    }

    /// A failure that is no step's.
    pub(crate) fn failed(&self, sentence: &str) {
        self.line(&format!("failed: {sentence}"));
        let at = clock::rfc3339(clock::now_ms());
        self.append(FAILURES, &format!("{at} deployment {}: {sentence}\n", self.deployment));
    }

    /// A log that cannot be written is said in ours and stops nothing.
    fn append(&self, name: &str, text: &str) {
        if let Err(error) = log_files::append(&self.folder, name, text) {
            tracing::warn!(%error, name, "installation's log not written");
        }
    }
}

/// One line for a person.
pub(crate) fn describe(happened: &Happened<'_>) -> String {
    match happened {
        Happened::Ordered { step } => format!("{}: {} begins", step.machine, step.title),
        Happened::Done { step, converged, done, total } => {
            let what = if converged.changed { "done" } else { "as it was" };
            let note = if converged.note.is_empty() {
                String::new()
            } else {
                format!(", {}", converged.note)
            };
            let seconds = converged.took_ms / 1000;
            format!("[{done}/{total}] {}: {}: {what}{note} ({seconds} s)", step.machine, step.title)
        }
        Happened::Failed { step, failure } => {
            format!("{}: {} failed: {}", step.machine, step.title, failure.message)
        }
        Happened::Silent { machine, seconds } => format!(
            "{machine}: its agent has not called for {seconds} s, and is waited for: undercloud node \
             agent restore {machine} puts it back"
        ),
    }
}
